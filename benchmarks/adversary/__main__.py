"""Thousands of random models that try to trick: is any sum, cell or place wrong?

Every model has a number; the same seed and number are the same model anywhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.adversary.check import Outcome, check
from benchmarks.adversary.further import FURTHER
from benchmarks.adversary.models import Trick, build
from benchmarks.adversary.movers import MOVERS, Mover


def trick_of(seed: int, number: int, movers: Mapping[str, Mover] = MOVERS) -> Trick:
    """One model."""
    rng = np.random.default_rng([seed, number])

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    return build(pick, int(rng.integers(1 << 31)), movers)


def outcome_of(trick: Trick) -> Outcome:
    """What became of it; an error of any kind is a finding."""
    try:
        return check(trick)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return Outcome("crash", wrong=(f"{type(error).__name__}: {str(error)[:200]}",))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    parser.add_argument("--models", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the models that something is wrong of")
    parser.add_argument("--unknown", action="store_true", help="also print why places are not known")
    parser.add_argument("--further", action="store_true", help="draw of more kinds of movers; the models are others")
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    bad, start = 0, time.perf_counter()
    for number in range(options.first, options.first + options.models):
        trick = trick_of(options.seed, number, FURTHER if options.further else MOVERS)
        found = outcome_of(trick)
        known = "places known" if found.known else "places not known"
        kinds[found.kind if found.kind in ("refused", "unproved", "crash") else f"{found.kind}, {known}"] += 1
        if found.wrong or found.kind == "unproved":
            bad += 1
            print(f"{options.seed}/{number} {found.kind}: {'; '.join(found.wrong)} {found.detail}\n    {trick.trace}")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                onnx.save(trick.model, options.keep / f"{options.seed}_{number}.onnx")
        elif options.unknown and not found.known:
            print(f"  {number} {found.kind}: {found.detail[:150]}\n    {trick.trace}")
    seconds = time.perf_counter() - start
    print(f"{options.models} models in {seconds:.0f} s: {bad} wrong; {dict(kinds.most_common())}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
