"""Each aggregator's repooled model against textbook formulas on the vendor's cells, by a session of this script's own.

The grid is that of ``rewrite`` on the vendor's file; the formulas are SciPy's, in float64, and share nothing with the
package's. Both files run without optimization on N(0, 1) inputs and three times that. A difference is of the logits,
relative to the largest cell or logit; where probabilities p are pooled, of p itself. It may be 5e-5 in float32, 5e-3 in
fp16. Of a file with several heads the first is repooled.

Exit code 1 if a model that could be repooled fails its own proof, or differs by more than its type allows. What the
program refuses with a documented reason is counted by that reason, and is no failure.

The page has two parts, of the sample models and the zoo and of models made by others; ``--part`` runs one of them, and
that part alone is written anew. ``--rows FILE`` keeps what became of each file as JSON lines; a run that was stopped
goes on from there, as long as this package and this script are the same. With ``--kept`` nothing is run, and the page
is of what was kept; it says of how many files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from scipy import special

from benchmarks import pages, sources
from benchmarks.as_deployed import inputs, session
from benchmarks.repooled_page import FAILED, KEYS, PARTS, Row, by_file, marks, report
from onnx_gapmil import repool, rewrite
from onnx_gapmil.errors import GapmilError, InputError
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.ort.limits import set_seconds
from onnx_gapmil.rewriting.record import HeadRecord
from onnx_gapmil.rewriting.repooled.record import RepooledHead
from tests.references.zoo import ZOO

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_PROBABILITIES = ("noisy_or", "generalized_mean", "prob_mean")
#: By bytes of an element.
ALLOWED = {2: 5e-3, 4: 5e-5, 8: 1e-9}


def why_not(error: GapmilError) -> str:
    """Why a model was not repooled: refused for a documented reason, or failed."""
    if isinstance(error, UnsupportedHeadError):
        said = error.refusal.message.rpartition("cannot be repooled: ")[2]
        return f"refused, `{error.refusal.code}`" + (f": {said}" if error.refusal.code == "not-repoolable" else "")
    # Not one of its kinds: a model that cannot be read or run was read and run a moment before.
    if type(error) is InputError:
        return f"refused: {error}"
    return f"{FAILED}{error}"


def kind_of(head: HeadRecord, expect: str) -> str:
    """One of `GROUPS`."""
    if head.quantized or expect == "quantized":
        return "quantized"
    if head.position_dependent and not head.pool_weights:
        return "flattened"
    return head.verdict


def textbook(key: str, cells: np.ndarray, alone: bool) -> np.ndarray:
    """(N, K) of cells (N, K, P): a logit, or a probability."""
    name, _, value = key.partition("=")
    r = float(value or 1)
    logp = special.log_expit(cells) if alone or cells.shape[1] == 1 else special.log_softmax(cells, axis=1)
    count = cells.shape[2]
    found = {
        "max": lambda: np.amax(cells, axis=2),
        "lse": lambda: special.logsumexp(cells, axis=2) - np.log(count),
        "topk": lambda: np.sort(cells, axis=2)[..., count - max(1, int(r * count + 0.5)) :].mean(axis=2),
        "softmax_weighted": lambda: (special.softmax(cells, axis=2) * cells).sum(axis=2),
        "median": lambda: np.median(cells, axis=2),
        "noisy_or": lambda: -np.expm1(np.log1p(-np.minimum(np.exp(logp), 1 - 1e-16)).sum(axis=2)),
        "generalized_mean": lambda: np.exp((special.logsumexp(r * logp, axis=2) - np.log(count)) / r),
        "prob_mean": lambda: np.exp(special.logsumexp(logp, axis=2) - np.log(count)),
    }[name]
    return np.asarray(found())


def gap(key: str, head: RepooledHead, logits: np.ndarray, grid: np.ndarray) -> float:
    """Largest difference of repooled logits from the textbook, by the measure above."""
    cells = grid.astype(np.float64).reshape(*grid.shape[:2], -1)
    wanted = textbook(key, cells, head.alone)
    found = logits.astype(np.float64)
    found = (found if found.shape[:2] == wanted.shape or found.shape[0] == len(wanted) else found.T).reshape(
        wanted.shape
    )
    if key.partition("=")[0] in OF_PROBABILITIES:
        found = special.expit(found) if head.alone else np.exp(found)
        return float(np.abs(found - wanted).max())
    return float(np.abs(found - wanted).max() / max(np.abs(cells).max(), np.abs(wanted).max(), 1e-30))


def with_outputs(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with these tensors given too."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    known = {value.name for value in made.graph.output}
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return made


def rows_of(path: Path, name: str, expect: str) -> list[Row]:
    """One file by every aggregator."""
    try:
        source = load_model(path)
        lifted = rewrite(source, write=False)
    except UnsupportedHeadError as error:
        return [Row(name, f"their heads are refused, `{error.refusal.code}`", "")]
    except GapmilError as error:
        return [Row(name, f"not rewritten ({type(error).__name__})", "", why=str(error)[:200])]
    head = lifted.heads[0]
    kind = kind_of(head, expect)
    grid = session(_as(source, lifted.model), "none")
    feeds = inputs(source, grid, 1)
    feeds = [feeds[0], feeds[2]] if feeds else []
    cells = [grid.run([head.grid], entry)[0] for entry in feeds]
    found = []
    for key in KEYS:
        row = Row(name, kind, key)
        found.append(row)
        try:
            made = repool(source, key, write=False, head=head.output)
        except GapmilError as error:
            row.why = why_not(error)
            continue
        own = made.heads[0]
        run = session(_as(source, with_outputs(made.model, [own.logits])), "none")
        row.allowed = ALLOWED[cells[0].dtype.itemsize]
        row.gap = max(
            gap(key, own, run.run([own.logits], entry)[0], map_) for entry, map_ in zip(feeds, cells, strict=True)
        )
    return found


def _as(source: LoadedModel, proto: onnx.ModelProto) -> LoadedModel:
    return LoadedModel(proto, source.path, source.sha256, source.size)


def code() -> str:
    """A digest of what a result depends on: this package, this script and what it shares with others."""
    here = Path(__file__).parent
    return sources.digest_of_files([pages.ROOT / "onnx_gapmil", here / "as_deployed.py", here / "repooled.py"])


def kept(path: Path | None) -> dict[str, list[Row]]:
    """What an earlier run by the same code found, by the digest of the file."""
    if path is None or not path.is_file():
        return {}
    entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {entry["sha256"]: [Row(**row) for row in entry["rows"]] for entry in entries if entry["code"] == code()}


def expected() -> dict[str, str]:
    """By file of the zoo: what its catalogue expects of it."""
    if not (catalog := ZOO / "catalog.jsonl").exists():
        return {}
    entries: list[dict[str, Any]] = [json.loads(line) for line in catalog.read_text("utf-8").splitlines()]
    return {entry["file"]: entry["expect"] for entry in entries}


def run(paths: list[Path], folders: Iterable[Path], cache: Path | None, kept_only: bool) -> tuple[list[Row], list[str]]:
    """All files by every aggregator.

    Args:
        paths: of files.
        folders: that they lie in; their names on the page begin with the folder's.
        cache: what became of each, kept and gone on from.
        kept_only: run nothing.

    Returns:
        What became of them, and the names of those that were not run.
    """
    expects, before, now = expected(), kept(cache), code()
    rows: list[Row] = []
    absent: list[str] = []
    for number, path in enumerate(paths, 1):
        base = next((folder.parent for folder in folders if path.is_relative_to(folder)), path.parent)
        name = str(path.relative_to(base))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        own = before.get(digest)
        if own is None and kept_only:
            absent.append(name)
            continue
        if own is None:
            own = rows_of(path, name, expects.get(name.removeprefix("zoo/"), ""))
            if cache is not None:
                entry = {"sha256": digest, "code": now, "rows": [asdict(row) for row in own]}
                with cache.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
        own = [replace(row, file=name) for row in own]
        rows += own
        print(f"{number} of {len(paths)}: {name}", file=sys.stderr, flush=True)
        for row in own:
            if row.wrong:
                print(f"{row.file} {row.key}: {row.gap:.2g} {row.why}", flush=True)
    return rows, absent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="these alone, and no page; default: all of both parts")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: both")
    parser.add_argument("--rows", type=Path, help="keep what became of each file, and go on from there")
    parser.add_argument("--kept", action="store_true", help="run nothing: the page of what --rows has")
    parser.add_argument("--markdown", type=Path, help="the page, whose parts are written between their marks")
    options = parser.parse_args()
    if options.files and (options.part or options.markdown):
        parser.error("files of your own are no part of the page")
    set_seconds(600)  # a busy machine is slow, and no model here is endless
    if options.files:
        rows, _ = run(options.files, [], options.rows, options.kept)
        print("\n".join(by_file([row for row in rows if row.key])))
        return int(any(row.wrong for row in rows))
    wrong = False
    for part in options.part or PARTS:
        folders = PARTS[part][1]
        paths = [path for folder in folders for path in sorted(folder.rglob("*.onnx"))]
        rows, absent = run(paths, folders, options.rows, options.kept)
        wrong |= any(row.wrong for row in rows)
        lines = report(part, rows, absent)
        print("\n".join(lines))
        if options.markdown is not None:
            pages.write_between(options.markdown, marks(part), lines)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
