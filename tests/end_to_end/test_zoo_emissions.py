"""Every emission on real exporters' files: equal to NumPy's on the whole grid, and the proof says so."""

from __future__ import annotations

from typing import Any

import pytest

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.references.zoo import ZOO, one_of_each


def _kind(entry: dict[str, Any]) -> tuple[str, ...] | None:
    """Each exporter, operator set, class and expectation."""
    if entry["expect"] not in ("exact", "conditional"):
        return None
    return entry["exporter"], str(entry["opset"]), entry["klass"], entry["expect"]


@pytest.mark.shared
@pytest.mark.parametrize("file", one_of_each(_kind, step=2))
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
