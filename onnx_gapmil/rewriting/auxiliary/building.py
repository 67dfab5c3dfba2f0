"""A new output whose grid is finer: the head's own cells, and what earlier maps know of classes at each place.

With the head's grid G (N, K, h, w) and maps A_t with linear layers V_t, o_t, all read at the places of the finest
map's H x W cells (``up``, see `onnx_gapmil.rewriting.auxiliary.lattice`):

    F = up(G) + sum_t up(V_t A_t + o_t)
    fine = F - mean(F) + mean(G)                              the scores are the vendor's
    fine = F - mean(F) + mean(G) + mean(sum_t ...)            the maps count in the scores too

and the logits are the mean of ``fine`` over its cells, as any classifier with global average pooling has them. So the
file needs no record: its new output lifts like any other head. The small weight of the maps is in V_t and o_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.rewriting.attachment.attach import attach
from onnx_gapmil.rewriting.auxiliary.lattice import Finer, add_finer
from onnx_gapmil.rewriting.auxiliary.maps import AuxiliaryMap
from onnx_gapmil.rewriting.proved_record import without_records

if TYPE_CHECKING:
    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.rewriting.analysis import Analysis

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AuxiliaryLayer:
    """A 1x1 classifier on one map.

    Attributes:
        map: the map.
        weight: V, (K, C) float32, its small weight included; rows of classes that it does not know are 0.
        offset: o, (K,) float32.
    """

    map: AuxiliaryMap
    weight: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]


@dataclass(frozen=True)
class AuxiliaryGraph:
    """A model with a finer output, unproved.

    Attributes:
        model: the vendor's graph with it.
        output: the new output's name.
        head: the vendor's head that it refines.
        grid: the tensor of that head's grid, (N, K, h, w).
        maps: by the vendor's tensor, the map as the new nodes read it, (N, C, H, W).
        logits: the tensor (N, K) before the activation.
        analysis: of the vendor's graph.
    """

    model: onnx.ModelProto
    output: str
    head: LiftedHead
    grid: str
    maps: dict[str, str]
    logits: str
    analysis: Analysis


def with_pooled_maps(analysis: Analysis, maps: Sequence[AuxiliaryMap]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The vendor's model with each map pooled as an output of its own, (N, C): what its classifier is fitted to.

    Returns:
        The model, and by the vendor's tensor the output. A rewrite lifts it, and its grid is the map.
    """
    build = analysis.build
    outputs = {}
    for entry in maps:
        pooled = build.node("GlobalAveragePool", [_as_nchw(build, entry, analysis)])
        outputs[entry.tensor] = build.node("Flatten", [pooled])
    proto = _extended(analysis, [entry.tensor for entry in maps], list(outputs.values()))
    for entry in maps:
        _declare(proto, outputs[entry.tensor], analysis, entry.channels)
    return proto, outputs


def add_finer_output(
    analysis: Analysis, head: LiftedHead, layers: Sequence[AuxiliaryLayer], *, scores: bool
) -> AuxiliaryGraph:
    """Add the output; see the module.

    Args:
        analysis: of the vendor's graph.
        head: one of its heads.
        layers: classifiers on finer maps, the finest first.
        scores: whether the maps count in the scores.

    Raises:
        InputError: the operator set is too old for an input of open size.
    """
    build = analysis.build
    finest = layers[0].map
    maps = {layer.map.tensor: _as_nchw(build, layer.map, analysis) for layer in layers}
    grid = _floats(build, head.scores.name, head.scores.dtype)
    known = [_classified(build, layer, maps[layer.map.tensor]) for layer in layers]
    classes = head.scores.channels
    opened = any(entry.space_is_open for entry in analysis.trace.inputs)
    beside = known[0]
    for layer, answers in zip(layers[1:], known[1:], strict=True):
        read = add_finer(build, answers, classes, *finer_axes(layer.map, finest), open_size=opened)
        beside = build.node("Add", [beside, read])
    read = add_finer(build, grid, classes, *finer_axes(head, finest), open_size=opened)
    total = build.node("Add", [read, beside])
    fine = build.node("Sub", [total, build.node("GlobalAveragePool", [total])])
    fine = build.node("Add", [fine, build.node("GlobalAveragePool", [grid])])
    if scores:
        fine = build.node("Add", [fine, build.node("GlobalAveragePool", [beside])])
    logits = build.node("Flatten", [build.node("GlobalAveragePool", [fine])])
    output = build.unique(f"{head.output}_sac")
    activation = {"softmax": ("Softmax", {"axis": 1}), "sigmoid": ("Sigmoid", {})}.get(head.logits.activation)
    op, attributes = activation if activation is not None else ("Identity", {})
    build.node(op, [logits], output=output, **attributes)
    proto = _extended(analysis, [*maps, *(found.source for found in head.features)], [output])
    _declare(proto, output, analysis, head.scores.channels)
    return AuxiliaryGraph(proto, output, head, head.scores.name, maps, logits, analysis)


def finer_axes(coarse: AuxiliaryMap | LiftedHead, finest: AuxiliaryMap) -> tuple[Finer, Finer]:
    """How the rows and the columns of a map, or of a head's grid, are read at the places of the finest map."""
    lines, size = (
        ((coarse.rows, coarse.columns), coarse.size)
        if isinstance(coarse, AuxiliaryMap)
        else ((coarse.places.rows, coarse.places.columns), coarse.scores.size)
    )
    rows, columns = (
        Finer.of(line, cells, fine, finer)
        for line, cells, fine, finer in zip(lines, size, (finest.rows, finest.columns), finest.size, strict=True)
        if line is not None
    )
    return rows, columns


def _classified(build: GraphBuilder, layer: AuxiliaryLayer, tensor: str) -> str:
    kernel = build.constant(np.ascontiguousarray(layer.weight[:, :, None, None]))
    return build.node("Conv", [tensor, kernel, build.constant(layer.offset)])


def _as_nchw(build: GraphBuilder, entry: AuxiliaryMap, analysis: Analysis) -> str:
    name = entry.tensor
    if entry.axes != (0, 1, 2, 3):
        name = build.node("Transpose", [name], perm=list(entry.axes))
    return _floats(build, name, analysis.trace.dtypes.get(entry.tensor, np.dtype(np.float32)))


def _floats(build: GraphBuilder, tensor: str, dtype: np.dtype) -> str:
    return tensor if dtype == np.float32 else build.node("Cast", [tensor], to=int(onnx.TensorProto.FLOAT))


def _extended(analysis: Analysis, maps: Sequence[str], outputs: list[str]) -> onnx.ModelProto:
    """The vendor's model with the new nodes that some outputs need."""
    attach(analysis.search.walk, maps=maps, logits=[], outputs=outputs)
    proto = onnx.ModelProto()
    proto.CopyFrom(analysis.graph.proto)
    proto = without_records(replace(analysis.source, proto=proto)).proto
    analysis.build.append_to(proto, outputs)
    return proto


def _declare(proto: onnx.ModelProto, output: str, analysis: Analysis, channels: int) -> None:
    """A new output, float32 (N, channels)."""
    opened = any(entry.batch_is_open for entry in analysis.trace.inputs)
    first = "batch" if opened else analysis.trace.batch
    proto.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [first, channels]))
