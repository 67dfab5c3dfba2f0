"""What a prediction needs of the graph: for people (classes, cells, boxes), for pictures, for arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from onnx_gapmil.aggregate import Aggregator
from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.errors import ModelError
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.emission.names import HeadOutputs

_NOTHING = Emit(features=False, grid=False)
_MAX = Aggregator("max", None)
#: In place of the grid: who wins each cell and how surely, where each class is highest and how high.
_REDUCED = Emit(features=False, grid=False, argmax=True, certainty=True, peaks=True, scores=(_MAX,))


@dataclass(frozen=True)
class OutputPlan:
    """What a prediction needs of the graph.

    Attributes:
        arrays: what is saved of each photo, beside the logits; None saves nothing.
        pictures: whether photos are drawn, which takes the whole grid.
        accelerated: whether outputs have to cross from a device, so that the whole grid is worth avoiding.
    """

    arrays: Emit | None = None
    pictures: bool = False
    accelerated: bool = False

    @property
    def emit(self) -> Emit:
        """What a model that was not rewritten is to give."""
        saved = self.arrays or _NOTHING
        if not self._reduced:
            return replace(saved, grid=True)
        scores = saved.scores if _MAX in saved.scores else (*saved.scores, _MAX)
        return replace(saved, grid=True, argmax=True, certainty=True, peaks=True, scores=scores)

    def outputs(self, heads: Iterable[HeadOutputs], readings: Iterable[Reading]) -> frozenset[str]:
        """What to fetch of each head.

        A cell's probability needs all of its logits, so heads that end in a softmax need the whole grid; so do
        multi-label heads, of which several classes may be present in a cell, or none.

        Args:
            heads: what the graph gives.
            readings: how the heads' logits are read.

        Returns:
            Names of `PredictionGrid`'s arrays, without the logits.

        Raises:
            ModelError: a file that was rewritten before does not give enough.
        """
        heads, readings = tuple(heads), tuple(readings)
        for head, reading in zip(heads, readings, strict=True):
            self._require(head.emit, whole=reading.multi_label)
        reduced = all(not _REDUCED.missing_from(head.emit) for head in heads)
        whole = all(head.emit.grid for head in heads)
        enough = all(reading.kind == "two-classes" or reading.activation == "none" for reading in readings)
        spare = reduced and self._reduced and enough
        needed = _REDUCED if spare or not whole else replace(_NOTHING, grid=True)
        return frozenset(names_of(self.arrays or _NOTHING) + names_of(needed))

    @property
    def _reduced(self) -> bool:
        return self.accelerated and not self.pictures and not (self.arrays is not None and self.arrays.grid)

    def _require(self, held: Emit, *, whole: bool) -> None:
        """A head has to give the arrays, and the grid or what stands for it."""
        absent = (self.arrays or _NOTHING).missing_from(held)
        if (self.pictures or whole) and not held.grid:
            absent = (*absent, "grid")
        if not absent and not held.grid:
            absent = _REDUCED.missing_from(held)
        if absent:
            raise ModelError(
                f"The model was rewritten to give {held}, and predict needs {', '.join(dict.fromkeys(absent))} as "
                "well: give it the original model, or rewrite that with --emit grid."
            )


def names_of(emit: Emit) -> list[str]:
    """The arrays of a `PredictionGrid` that hold what is emitted."""
    flags = [name for name in ("grid", "features", "argmax", "certainty", "peaks") if getattr(emit, name)]
    topk = ["topk_classes", "topk_grid"] if emit.topk is not None else []
    return flags + topk + (["classes_grid"] if emit.classes else []) + (["scores"] if emit.scores else [])
