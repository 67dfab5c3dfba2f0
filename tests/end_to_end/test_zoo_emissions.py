"""Every emission on real exporters' files: equal to NumPy's on the whole grid, and the proof says so."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.references.zoo import ZOO, read_catalogue

#: Files above this are left to the coverage benchmark.
MAX_BYTES = 3_000_000


def _sample() -> list[object]:
    """One small file of each exporter, operator set, class and expectation, and of those every second."""
    entries = read_catalogue(ZOO)
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason="there is no shared zoo beside the checkout"))]
    kinds: dict[tuple[str, ...], dict[str, Any]] = {}
    for entry in entries:
        made_anew = entry["framework"] == "onnx-light"  # up to 500 MB of weights in every run
        if entry["expect"] in ("exact", "conditional") and entry["bytes"] <= MAX_BYTES and not made_anew:
            key = (entry["exporter"], str(entry["opset"]), entry["klass"], entry["expect"])
            kinds.setdefault(key, entry)
    return [pytest.param(entry["file"], id=entry["file"]) for entry in itertools.islice(kinds.values(), 0, None, 2)]


@pytest.mark.shared
@pytest.mark.parametrize("file", _sample())
def test_emissions_of_a_zoo_file_equal_numpys(file: str) -> None:
    count = min(int(head.grid_shape[1]) for head in rewrite_model(ZOO / file).heads)
    for emit in (
        f"topk:{min(3, count)},classes:{count - 1},0",
        f"argmax,certainty,peaks,scores:{','.join(AGGREGATORS)},lse=10",
    ):
        found = rewrite(ZOO / file, emit=emit, write=False)
        assert found.proof is not None
        limit = max(found.proof.tolerance.values())
        assert {
            name: found.proof.emission(name) for name in found.proof.emitted if not found.proof.emission(name) <= limit
        } == {}
        assert len(found.proof.emitted) == len(found.heads) * (3 if "topk:" in emit else 13)
