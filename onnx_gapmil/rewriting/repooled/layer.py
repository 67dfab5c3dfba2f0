"""A head that is one linear layer on each cell: its weights, whatever operators it is spelled by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import load_small_external_data
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.rewriting.proof.cutting import cut_out
from onnx_gapmil.rewriting.repooled.building import unlike_a_layer

if TYPE_CHECKING:
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.rewriting.analysis import Analysis

Array = npt.NDArray[np.float64]

#: What the features are set to, so that rounding of the offset is small beside the weight.
_LARGE = 64.0


def layer_of(analysis: Analysis, head: LiftedHead) -> tuple[Array, Array]:
    """The weights of a head's layer, by running it on features of which each cell has one.

    Args:
        analysis: of the vendor's graph.
        head: one of its heads.

    Returns:
        Weight (K, C) and offset (K,): a cell of features a has the logits ``weight @ a + offset``.

    Raises:
        InputError: the head is more than one linear layer on the cells of one feature grid.
    """
    why = unlike_a_layer(head, analysis)
    grid = head.features[0] if head.features else None
    shape = analysis.trace.shapes.get(grid.source) if grid is not None else None
    if why or grid is None or shape is None or len(shape) != 4 or 0 in grid.axes or head.scores.batch_axis != 0:
        raise InputError(
            f"output '{head.outputs[0]}' has no last linear layer to be read off: "
            f"{why or 'its feature grid is no map of rows and columns'}; fit 'mix' or an aggregator instead."
        )
    run = _HeadAlone(analysis, head)
    cells = grid.size[0] * grid.size[1]
    places = range(0, grid.channels, cells)
    offset = run(np.zeros((grid.channels, cells)))[:, 0]
    weight = np.empty((head.scores.channels, grid.channels))
    for start in places:
        count = min(cells, grid.channels - start)
        features = np.zeros((grid.channels, cells))
        features[np.arange(start, start + count), np.arange(count)] = _LARGE
        weight[:, start : start + count] = (run(features)[:, :count] - offset[:, None]) / _LARGE
    return weight, offset


class _HeadAlone:
    """Features (C, P) to the prediction grid (K, P), both float64, by the head alone."""

    def __init__(self, analysis: Analysis, head: LiftedHead) -> None:
        grid, source = head.features[0], head.features[0].source
        whole = onnx.ModelProto()
        whole.CopyFrom(analysis.graph.proto)
        analysis.build.append_to(whole, [head.scores.name])
        model = cut_out(whole, [source], [head.scores.name], analysis.trace, "the head")
        load_small_external_data(model, analysis.graph.folder)
        self._run = cpu_session(model, analysis.graph.folder)
        self._source, self._output = source, head.scores.name
        self._shape, self._dtype = (
            analysis.trace.shapes[source],
            analysis.trace.dtypes.get(source, np.dtype(np.float32)),
        )
        self._axes, self._size = grid.axes, grid.size

    def __call__(self, features: Array) -> Array:
        channels = next(axis for axis in (1, 2, 3) if axis not in self._axes)
        first = features.reshape(1, len(features), *self._size)
        laid = np.moveaxis(first, (1, 2, 3), (channels, *self._axes))
        fed = np.broadcast_to(laid, self._shape).astype(self._dtype)
        found = np.asarray(self._run.run([self._output], {self._source: np.ascontiguousarray(fed)})[0])
        return np.asarray(found[0].reshape(found.shape[1], -1), dtype=np.float64)
