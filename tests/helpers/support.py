"""Models as ONNX text, and independent references for their prediction grids.

In most of these models the graph input *is* the feature map, so that a cell can be fed to the vendor's own pool and
head by itself: as a map that has this cell's features everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

from onnx_gapmil.graph.trace import trace
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.lift.coordinates.fields import NONE
from onnx_gapmil.lift.coordinates.looks import Looks
from onnx_gapmil.lift.coordinates.preparing import plain
from onnx_gapmil.lift.coordinates.tracing import trace_coordinates
from onnx_gapmil.lift.verdict import ADVICE, Refusal, UnsupportedHeadError
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model

#: Largest |difference| / max |value| that rounding explains, by the bytes of the element type.
TOLERANCE = {2: 5e-3, 4: 1e-5, 8: 1e-9}

Head = Callable[[np.ndarray], np.ndarray]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Standard normal numbers of a shape, always the same."""
    return rng(seed + sum(shape)).standard_normal(shape).astype(dtype)


def text_model(
    body: str,
    *,
    x: str = "float[N,6,3,5] x",
    y: str = "float[N,5] y",
    opset: int = 17,
    ir: int = 8,
    domains: str = "",
    functions: str = "",
    init: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """A model from the statements of its graph in ONNX text; ``init`` has its weights by name."""
    imports = f'"" : {opset}' + (f", {domains}" if domains else "")
    model = parser.parse_model(
        f"<ir_version: {ir}, opset_import: [{imports}]>\ng ({x}) => ({y}) {{\n{body}\n}}\n{functions}"
    )
    for name, array in (init or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def session(model: onnx.ModelProto, *, optimize: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(
    model: onnx.ModelProto, x: np.ndarray | Mapping[str, np.ndarray], outputs: list[str] | None = None
) -> list[np.ndarray]:
    """All outputs of a model for one input (or several by name)."""
    made = session(model)
    feeds = x if isinstance(x, Mapping) else {made.get_inputs()[0].name: x}
    return made.run(outputs, dict(feeds))


def images(model: onnx.ModelProto, batch: int = 3, *, seed: int = 1, low: float | None = None) -> np.ndarray:
    """A random array for the only input; open axes are the batch, then 3, 5."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    value = next(value for value in model.graph.input if value.name not in initializers)
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    filler = [batch, 6, 3, 5] if len(dims) == 4 else [batch, 6, 15]
    shape = [dim if dim is not None else filler[axis] for axis, dim in enumerate(dims)]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    found = rng(seed).standard_normal(shape) if low is None else rng(seed).uniform(low, low + 2, shape)
    return found.astype(dtype)


@dataclass(frozen=True)
class Lifted:
    """A rewritten model with one head, run on one input."""

    rewrite: Rewrite
    x: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    grid: np.ndarray
    vendor: tuple[np.ndarray, ...]

    @property
    def verdict(self) -> str:
        return self.rewrite.heads[0].verdict


def lift(
    model: onnx.ModelProto,
    x: np.ndarray | Mapping[str, np.ndarray],
    *,
    readout: str = "contribution",
    check: bool = True,
) -> Lifted:
    """Rewrite a model with one head and run it; the original outputs must be equal bit for bit."""
    rewritten = rewrite_model(model, readout=readout)  # type: ignore[arg-type]
    assert len(rewritten.heads) == 1
    head = rewritten.heads[0]
    names = [value.name for value in model.graph.output]
    before = run(model, x, names)
    *vendor, logits, features, grid = run(rewritten.model, x, [*names, head.logits, head.features, head.grid])
    for first, second in zip(before, vendor, strict=True):
        np.testing.assert_array_equal(first, second)
    if check:
        onnx.checker.check_model(rewritten.model, full_check=True)
    return Lifted(rewritten, x if isinstance(x, np.ndarray) else np.empty(0), logits, features, grid, tuple(vendor))


def assert_in_reading_order(model: onnx.ModelProto) -> None:
    """The mean is the logits, and a change of one pixel moves the features of the cell with its row and column alone.

    For trunks that keep positions apart, at the input's size.
    """
    x = images(model)
    found = lift(model, x)
    assert_mean_is_logits(found)
    height, width = x.shape[2:]
    for row, column in ((0, 0), (1, width - 1), (height - 1, 0), (height - 1, width - 2)):
        other = x.copy()
        other[:, :, row, column] += 1
        moved = np.abs(lift(model, other).features - found.features).max(axis=(0, 1)) > 1e-6
        assert np.argwhere(moved).tolist() == [[row, column]]


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> None:
    """Equal up to rounding relative to the largest expected value."""
    limit = tolerance if tolerance is not None else TOLERANCE[got.dtype.itemsize]
    assert got.shape == expected.shape, f"{got.shape} instead of {expected.shape}"
    wide = expected.astype(np.float64)
    scale = max(float(np.abs(wide).max()), 1e-30)
    gap = np.abs(got.astype(np.float64) - wide)
    worst = np.unravel_index(np.argmax(np.where(np.isfinite(gap), gap, np.inf)), gap.shape)
    assert gap.max() <= limit * scale, (
        f"{gap.max() / scale:.3g} of the largest value at {worst}: {got[worst]} for {wide[worst]}"
    )


def assert_mean_is_logits(found: Lifted) -> None:
    """The invariant: mean over cells = logits, and the logits output has the vendor's own numbers."""
    assert found.grid.ndim == 4
    mean = found.grid.astype(np.float64).mean(axis=(2, 3))
    assert_close(mean.astype(found.grid.dtype), found.logits.astype(np.float64))


def to_nchw(x: np.ndarray, layout: str = "NCHW", size: tuple[int, int] | None = None) -> np.ndarray:
    """The vendor's map as NCHW: from NCHW, NHWC, tokens NTC or flattened NCT (with their height and width)."""
    if layout == "NHWC":
        return np.moveaxis(x, 3, 1)
    if layout == "NTC":
        x = np.moveaxis(x, 2, 1)
    if layout in ("NTC", "NCT"):
        height, width = size or (1, x.shape[2])
        return x.reshape(*x.shape[:2], height, width)
    return x


def cell_by_cell(
    model: onnx.ModelProto, x: np.ndarray, *, layout: str = "NCHW", output: str | None = None
) -> np.ndarray:
    """The vendor's own head applied to each cell alone, as (N, K, cells) in row-major order.

    A cell alone is a map of the input's shape that has the cell's features at every position.
    """
    channel = {"NCHW": 1, "NHWC": 3, "NTC": 2, "NCT": 1}[layout]
    places = [axis for axis in range(1, x.ndim) if axis != channel]
    cells = np.moveaxis(x, [0, channel], [0, 1]).reshape(x.shape[0], x.shape[channel], -1)
    made = session(model)
    answers = []
    for index in range(cells.shape[2]):
        alone = cells[:, :, index]
        shape = [1] * x.ndim
        shape[0], shape[channel] = alone.shape
        feed = np.ascontiguousarray(np.broadcast_to(alone.reshape(shape), x.shape))
        result = made.run([output] if output else None, {made.get_inputs()[0].name: feed})[0]
        answers.append(result.reshape(x.shape[0], -1))
    assert len(places) == x.ndim - 2
    return np.stack(answers, axis=2)


def check_exact(
    model: onnx.ModelProto,
    x: np.ndarray | None = None,
    *,
    layout: str = "NCHW",
    size: tuple[int, int] | None = None,
    logits: str | None = None,
    tolerance: float | None = None,
) -> Lifted:
    """An exact head: each cell has the vendor's answer to that cell alone, and the mean is the logits."""
    x = images(model) if x is None else x
    found = lift(model, x)
    assert found.verdict == "exact"
    source = _with_output(model, logits) if logits else model
    scores = run(source, x, [logits] if logits else None)[0].reshape(x.shape[0], -1)
    np.testing.assert_array_equal(found.logits, scores)
    expected = cell_by_cell(source, x, layout=layout, output=logits)
    feature_map = to_nchw(x, layout, size)
    np.testing.assert_array_equal(found.features, feature_map)
    assert_close(found.grid, expected.reshape(*expected.shape[:2], *feature_map.shape[2:]), tolerance)
    assert_close(found.grid.astype(np.float64).mean(axis=(2, 3)).astype(found.grid.dtype), scores, tolerance)
    return found


def check_conditional(
    model: onnx.ModelProto,
    formula: Head,
    x: np.ndarray | None = None,
    *,
    layout: str = "NCHW",
    size: tuple[int, int] | None = None,
    instance: bool = True,
    tolerance: float | None = None,
) -> Lifted:
    """A conditional head: the grid of a formula in float64; read by instance, the vendor's answer to each cell."""
    x = images(model) if x is None else x
    found = lift(model, x)
    assert found.verdict == "conditional"
    feature_map = to_nchw(x, layout, size)
    np.testing.assert_array_equal(found.logits, found.vendor[0].reshape(x.shape[0], -1))
    assert_mean_is_logits(found)
    assert_close(found.grid, formula(feature_map.astype(np.float64)), tolerance)
    if instance:
        alone = lift(model, x, readout="instance")
        expected = cell_by_cell(model, x, layout=layout)
        assert_close(alone.grid, expected.reshape(*expected.shape[:2], *feature_map.shape[2:]), tolerance)
    return found


def _with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    if name not in {value.name for value in twin.graph.output}:
        twin.graph.output.append(onnx.ValueInfoProto(name=name))
    return twin


def check_refused(model: onnx.ModelProto, code: str, node: str = "") -> Refusal:
    """The model has no head that lifts, for this reason and at this node (a part of its description)."""
    try:
        found = rewrite_model(model)
    except UnsupportedHeadError as error:
        refusal = error.refusal
    else:
        chain = [step.op for step in found.heads[0].chain]
        raise AssertionError(
            f"lifted by {chain} on a grid of {found.heads[0].grid_shape}, instead of refused as '{code}'"
        )
    assert refusal.code == code, refusal
    assert refusal.advice == ADVICE[code]
    assert node in refusal.node, refusal.node
    assert re.search(r"\S", refusal.message)
    return refusal


# --- formulas in float64 ------------------------------------------------------------------------------------------


def dense(weight: np.ndarray, bias: np.ndarray | float = 0.0) -> Head:
    """Cells (N, C, H, W) -> (N, K, H, W) by a weight (K, C)."""
    offset = np.broadcast_to(np.asarray(bias, dtype=np.float64), (weight.shape[0],))

    def apply(cells: np.ndarray) -> np.ndarray:
        return np.einsum("kc,nchw->nkhw", weight.astype(np.float64), cells) + offset[:, None, None]

    return apply


def pooled(cells: np.ndarray) -> np.ndarray:
    """Mean over cells, as (N, C, 1, 1)."""
    return cells.mean(axis=(2, 3), keepdims=True)


def frozen(phi: Head, *, anchor: float = 0.0) -> Head:
    """An activation with its slope frozen at the pooled value: ``phi(a) + (z - a) * (phi(t) - phi(a)) / (t - a)``."""

    def apply(cells: np.ndarray) -> np.ndarray:
        t = pooled(cells)
        base = phi(np.full_like(t, anchor))
        return base + (cells - anchor) * (phi(t) - base) / (t - anchor)

    return apply


def chain(*steps: Head) -> Head:
    """Steps one after another."""

    def apply(cells: np.ndarray) -> np.ndarray:
        for step in steps:
            cells = step(cells)
        return cells

    return apply


def raw_pixels(height: int, width: int) -> Preprocess:
    """A preprocessing that hands pixels on as they are: NCHW, RGB, float32, squashed by the nearest pixel."""
    return Preprocess.from_json(
        {
            "layout": "NCHW",
            "color": "RGB",
            "size": [height, width],
            "resize": "squash",
            "crop": 1.0,
            "interpolation": "nearest",
            "scale": 1.0,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "dtype": "float32",
        }
    )


def coordinates_of(model: onnx.ModelProto, tensor: str = "m") -> Looks:
    """Where a tensor of a model looks, by the pass over its graph."""
    graph = ModelGraph(model)
    return trace_coordinates(*plain(graph, trace(graph)))[tensor]


def coordinate(looks: Looks, axis: int, name: str = "x") -> np.ndarray:
    """One coordinate of every element, written out; states stand as they are."""
    (view,) = looks.views
    if (name, axis) not in view:
        return np.full(looks.shape, NONE)
    return np.array(np.broadcast_to(view[name, axis].values, looks.shape))
