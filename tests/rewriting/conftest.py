"""What tests of the proof share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_gapmil.lift.heads import HeadSearch, lift_heads
from onnx_gapmil.rewriting import analysis

if TYPE_CHECKING:
    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.graph.view import ModelGraph
    from onnx_gapmil.lift.verdict import Readout


@pytest.fixture
def wrong_lift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads whose lift adds a bit to every cell."""

    def wrong(graph: ModelGraph, trace: Trace, build: GraphBuilder, readout: Readout) -> HeadSearch:
        found = lift_heads(graph, trace, build, readout)
        more = build.constant(np.asarray(0.01, np.float32))
        heads = tuple(
            replace(head, lifted=replace(head.lifted, name=build.node("Add", [head.lifted.name, more])))
            for head in found.heads
        )
        return replace(found, heads=heads)

    monkeypatch.setattr(analysis, "lift_heads", wrong)
