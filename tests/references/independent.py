"""An independent check of prediction grids: what the vendor's own head answers to each cell alone.

The package lifts operators by rules and proves that the mean over cells is the logits. A wrong grid can pass that proof
(the mean spread evenly does), so here nothing is lifted. For an affine head the vendor's nodes behind the feature map
are run on maps that are zero but for one cell, which holds H*W times its feature vector: their answer is that cell of
the grid, and the mean of the answers over all cells is the logits, whatever weight the pool gives each position. (For a
plain mean it is also the answer to an image that is that cell throughout.) For a conditional head the same is done
between its nonlinear operators, and each of these is replaced by its formula (DESIGN, section 3), in float64 numpy:

1. elementwise ``h = phi(z)``: ``phi(0) + z_cell * (phi(z) - phi(0)) / z`` at the pooled ``z``;
2. ``x * gate`` and ``x / norm`` of one pooled tensor: ``x_cell`` by the pooled gate or norm;
3. LayerNormalization: ``(x_cell - mean over channels of x_cell) / deviation of the pooled x * gamma + beta``;
4. max pools: ``H*W * A * onehot(argmax)``, ties shared;
5. Lp pools: the pooled value by each position's share of ``|A|^p``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tests.references.vendor import Vendor, open_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: What rounding explains, relative to max |logit|, by the bytes of the coarsest element type in the head.
TOLERANCE = {2: 5e-3, 4: 2e-5, 8: 2e-5}
#: Integer heads hold the identity up to their rounding.
QUANTIZED_TOLERANCE = 0.05

_UNARY = frozenset({"Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Clip", "Pow", "Sqrt", "Gelu", "LeakyRelu"})
_GATES = frozenset({"HardSigmoid", "Sigmoid", "Clip", "Div", "Reciprocal"})
_MAX_POOLS = frozenset({"GlobalMaxPool", "MaxPool", "ReduceMax"})


@dataclass(frozen=True)
class Source:
    """A map of the vendor's that a head pools.

    Attributes:
        tensor: its name.
        axes: its axes that are cells, rows before columns; one axis for tokens.
    """

    tensor: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Claim:
    """All that is taken on trust of one lifted head, to be checked.

    Attributes:
        output: the vendor's output.
        verdict: ``exact`` or ``conditional``.
        sources: the maps that it pools.
        grid: (N, K, H, W), measured on the vendor's `feeds`.
        quantized: the head computes in integers, which clip at the range that pooled values have: one cell alone may
            well lie outside, so that only the mean must hold, and the cells are shown.
    """

    output: str
    verdict: str
    sources: tuple[Source, ...]
    grid: np.ndarray
    quantized: bool = False


@dataclass
class Finding:
    """What the check of one head found.

    Attributes:
        output: the vendor's output.
        verdict: as claimed.
        size: (H, W) of the grid.
        mean_residual: largest |mean over cells - untouched logits| / max |logit|.
        cell_residual: largest |grid cell - independent cell| / max |logit| of image and cells; None if not compared.
        cells: how many cells were compared.
        tolerance: what both may be.
        problems: what is wrong, one sentence each.
    """

    output: str
    verdict: str
    size: tuple[int, int]
    mean_residual: float = math.inf
    cell_residual: float | None = None
    cells: int = 0
    tolerance: float = 0.0
    problems: list[str] = field(default_factory=list)


def _same(before: Any, after: Any) -> bool:
    """Equality bit for bit, of arrays of any kind or of ZipMap's lists."""
    if not isinstance(before, np.ndarray):
        return bool(before == after)
    return np.array_equal(before, after, equal_nan=before.dtype.kind == "f")


class NoFormulaError(Exception):
    """The conditional head holds an operator whose formula is not written here."""


def check_rewrite(vendor: Vendor, rewrite: Any, entry: dict[str, Any], max_cells: int = 200) -> list[Finding]:
    """Check every head that the package lifted.

    Args:
        vendor: the untouched file.
        rewrite: the package's result for it.
        entry: the file's line in the catalogue.
        max_cells: cells compared in each head.
    """
    names = [head.grid for head in rewrite.heads]
    session = open_model(rewrite.model, vendor.path.parent)
    answers = session.run([*names, *vendor.outputs], vendor.feeds)
    findings = []
    for head, grid in zip(rewrite.heads, answers, strict=False):
        sources = tuple(Source(found.source, tuple(found.axes)) for found in head.feature_grids)
        claim = Claim(head.output, head.verdict, sources, grid, entry["expect"] == "quantized")
        finding = check_claim(vendor, claim, max_cells)
        finding.problems += check_arrangement(vendor, claim, entry)
        finding.problems += check_orientation(vendor, grid, lambda feeds, name=head.grid: session.run([name], feeds)[0])
        findings.append(finding)
    for name, after in zip(vendor.outputs, answers[len(names) :], strict=True):
        if not _same(vendor.untouched[name], after):
            findings[0].problems.append(f"the rewritten model's output '{name}' is not the original's")
    return findings


def check_claim(vendor: Vendor, claim: Claim, max_cells: int = 200) -> Finding:
    """Compare one grid with the vendor's own head, cell by cell, and its mean with the untouched logits.

    Args:
        vendor: the untouched file.
        claim: what is claimed.
        max_cells: how many cells to compare; a seeded sample of more.
    """
    grid = np.asarray(claim.grid, dtype=np.float64)
    finding = Finding(claim.output, claim.verdict, tuple(grid.shape[2:]))
    tensor = vendor.logits_of(claim.output)
    seen = vendor.observe([claim.output, tensor, *(source.tensor for source in claim.sources)])
    if not _same(seen[claim.output], vendor.untouched[claim.output]):
        finding.problems.append("the opened original does not answer as the untouched file")
    logits = seen[tensor]
    kinds = [logits.dtype, claim.grid.dtype, *(seen[source.tensor].dtype for source in claim.sources)]
    finding.tolerance = QUANTIZED_TOLERANCE if claim.quantized else TOLERANCE[min(kind.itemsize for kind in kinds)]
    if logits.size != math.prod(grid.shape[:2]) or not np.isfinite(grid).all():
        finding.problems.append(f"the grid {grid.shape} does not fit the logits {logits.shape}, or is not finite")
        return finding
    logits = logits.astype(np.float64).reshape(grid.shape[:2])
    scale = float(np.abs(logits).max()) or 1.0
    finding.mean_residual = float(np.abs(grid.mean(axis=(2, 3)) - logits).max()) / scale
    if finding.mean_residual > finding.tolerance:
        finding.problems.append(f"the mean over cells is off by {finding.mean_residual:.2g}")
    for source in claim.sources:
        extents = tuple(seen[source.tensor].shape[axis] for axis in source.axes)
        if (extents != grid.shape[2:]) if len(extents) == 2 else math.prod(extents) != math.prod(grid.shape[2:]):
            finding.problems.append(f"the grid is {grid.shape[2:]}, the map '{source.tensor}' {extents}")
            return finding
    stops = [source.tensor for source in claim.sources]
    if vendor.sees_image(stops, tensor):
        finding.problems.append("the image reaches the logits past the maps that are claimed to be pooled")
    try:
        cells = Cells(vendor, claim, grid.shape, max_cells)
        expected = cells.of(tensor)
    except NoFormulaError as error:
        if not claim.quantized:  # their rounding is no formula of section 3; the mean is all that is promised
            finding.problems.append(f"not checked cell by cell: {error}")
        return finding
    got = grid[cells.image, :, cells.row, cells.column]
    finding.cells = len(got)
    # One cell's answer is the vendor's logits too, for an image that is that cell throughout.
    scale = max(scale, float(np.abs(expected).max()))
    finding.cell_residual = float(np.abs(got - expected.reshape(got.shape)).max()) / scale
    if not finding.cell_residual <= finding.tolerance and not claim.quantized:
        finding.problems.append(f"a cell is off by {finding.cell_residual:.2g} from the vendor's own head")
    return finding


class Cells:
    """The vendor's head on single cells: for every pooled tensor, what each sampled cell contributes to it.

    Attributes:
        image, row, column: index arrays of the M sampled cells.
    """

    def __init__(self, vendor: Vendor, claim: Claim, shape: Sequence[int], max_cells: int) -> None:
        self.vendor = vendor
        self.claim = claim
        self.size = (int(shape[2]), int(shape[3]))
        places = np.arange(shape[0] * shape[2] * shape[3])
        if len(places) > max_cells:
            places = np.sort(np.random.default_rng(1).choice(places, max_cells, replace=False))
        self.image, self.row, self.column = np.unravel_index(places, (shape[0], shape[2], shape[3]))
        self.sources = {source.tensor: source for source in claim.sources}
        self._maps = vendor.observe(self.sources)
        self._memo: dict[str, np.ndarray] = {}
        self._data = self._reached()
        nonlinear = [node for node in vendor.model.graph.node if self._is_nonlinear(node)]
        names = [name for node in nonlinear for name in (*node.input, *node.output) if name in self._data]
        self._seen = vendor.observe(names) if names else {}

    def _reached(self) -> set[str]:
        """Tensors that depend on the maps, but for their shape."""
        reached = set(self.sources)
        for node in self.vendor.model.graph.node:
            if node.op_type not in ("Shape", "Size") and reached.intersection(node.input):
                reached.update(node.output)
        return reached

    def of(self, tensor: str) -> np.ndarray:
        """What each cell contributes to a pooled tensor: float64 (M, ...), by their mean over cells the tensor."""
        if tensor not in self._memo:
            node = self.vendor.producers[tensor] if tensor not in self.sources else None
            formula = self._formula(node) if self.claim.verdict == "conditional" and node is not None else None
            if formula is not None:
                self._memo[tensor] = formula
            else:
                self._memo[tensor] = self._affine(tensor)
        return self._memo[tensor]

    def pooled(self, tensor: str) -> np.ndarray:
        """A pooled tensor's value for the image of each cell: float64 (M, ...)."""
        if tensor not in self._seen:
            self._seen |= self.vendor.observe([tensor])
        value = self._seen[tensor].astype(np.float64)
        images = len(next(iter(self._maps.values())))
        return value.reshape(images, *(value.shape[1:] if len(value) == images else value.shape))[self.image]

    def _affine(self, tensor: str) -> np.ndarray:
        """By the vendor's own nodes, from the nearest tensors whose cells are known."""
        stops = self._stops(tensor)
        given = {name: (self.of(name) if name not in self.sources else None) for name in stops}
        step, results, start = len(self.image), [], 0
        while start < len(self.image):
            chosen = np.arange(start, min(start + step, len(self.image)))
            filled = np.resize(chosen, step) if step <= len(self.vendor_batch()) else chosen
            fed = {name: self._feed(name, value, filled) for name, value in given.items()}
            try:
                answer = self.vendor.run_part(fed, tensor)
                if answer.size % len(filled) or (answer.ndim > 1 and len(answer) != len(filled)):
                    raise ValueError(f"{tensor} has the shape {answer.shape} for {len(filled)} cells")
            except Exception:
                if step == len(self.vendor_batch()):
                    raise
                step, results, start = len(self.vendor_batch()), [], 0  # the head's batch is fixed: as many as fit
                continue
            results.append(
                answer.reshape(len(filled), -1)[: len(chosen)].reshape(len(chosen), *answer.shape[1:] or (-1,))
            )
            start += len(chosen)
        return np.concatenate(results).astype(np.float64)

    def vendor_batch(self) -> np.ndarray:
        """The batch that the vendor's file was run with, as indices."""
        return np.arange(len(next(iter(self._maps.values()))))

    def _stops(self, tensor: str) -> list[str]:
        """Maps, and results of nonlinear operators, that the nodes behind ``tensor`` read."""
        stops: dict[str, None] = {}
        stack, seen = [tensor], set()
        while stack:
            name = stack.pop()
            if name in seen or name not in self._data:
                continue
            seen.add(name)
            node = self.vendor.producers.get(name)
            if name in self.sources or (name != tensor and self._is_nonlinear(node)):
                stops[name] = None
            elif node is not None:
                stack.extend(node.input)
        return list(stops)

    def _feed(self, name: str, cells: np.ndarray | None, chosen: np.ndarray) -> np.ndarray:
        """A pooled tensor's cells, or for a map, maps of zeros but for one cell, which holds H*W times its vector."""
        if cells is not None:
            return cells[chosen].astype(self._seen[name].dtype)
        source, value = self.sources[name], self._maps[name]
        if len(source.axes) == 1:
            place: tuple[np.ndarray, ...] = ((self.row * self.size[1] + self.column)[chosen],)
        else:
            place = (self.row[chosen], self.column[chosen])
        apart = np.moveaxis(value, source.axes, range(1, 1 + len(source.axes)))
        vectors = apart[(self.image[chosen], *place)]
        maps = np.zeros((len(chosen), *apart.shape[1:]), value.dtype)
        if self.claim.quantized:  # a multiple would saturate
            maps[:] = np.expand_dims(vectors, tuple(range(1, 1 + len(source.axes))))
        else:
            maps[(np.arange(len(chosen)), *place)] = vectors * math.prod(self.size)
        return np.ascontiguousarray(np.moveaxis(maps, range(1, 1 + len(source.axes)), source.axes))

    # --- conditional heads --------------------------------------------------------------------------------------

    def _is_nonlinear(self, node: onnx.NodeProto | None) -> bool:
        if node is None or self.claim.verdict != "conditional":
            return False
        data = [name for name in node.input if name in self._data]
        if node.op_type in ("Mul", "Div"):
            return len(data) == 2
        known = node.op_type in _UNARY | _MAX_POOLS | {"LayerNormalization", "GlobalLpPool"}
        return (known and bool(data)) or (node.op_type == "FusedGemm" and bool(data))

    def _formula(self, node: onnx.NodeProto) -> np.ndarray | None:
        """Cells of a nonlinear operator's result; None where the operator is affine."""
        if not self._is_nonlinear(node):
            return None
        if node.op_type in _MAX_POOLS:
            return self._max(node)
        if node.op_type == "GlobalLpPool":
            return self._lp(node)
        if node.op_type == "LayerNormalization":
            return self._layer_norm(node)
        if node.op_type == "FusedGemm":
            return self._fused(node)
        if node.op_type == "Div":
            return self.of(node.input[0]) / self.pooled(node.input[1])
        if node.op_type == "Mul":
            return self._gated(node)
        at_zero = self._at_zero(node)
        return _slope(self.of(node.input[0]), self.pooled(node.input[0]), self.pooled(node.output[0]), at_zero)

    def _at_zero(self, node: onnx.NodeProto) -> float:
        """phi(0)."""
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == "HardSigmoid":
            return float(np.clip(attributes.get("beta", 0.5), 0, 1))
        if node.op_type == "Clip":
            low, high = attributes.get("min", -np.inf), attributes.get("max", np.inf)
            if len(node.input) > 1:
                limits = [float(self._constant(name)) if name else None for name in node.input[1:3]]
                low = limits[0] if limits[0] is not None else low
                high = limits[1] if len(limits) > 1 and limits[1] is not None else high
            return float(np.clip(0.0, low, high))
        return 0.5 if node.op_type == "Sigmoid" else 0.0

    def _gated(self, node: onnx.NodeProto) -> np.ndarray:
        """``x * gate``: the gate is what an activation or a reciprocal makes; it stays at its pooled value."""
        first, second = node.input
        if first == second:
            raise NoFormulaError(f"a square in {node.name or node.output[0]}")
        for moved, gate in ((first, second), (second, first)):
            made = self.vendor.producers.get(gate)
            if made is not None and made.op_type in _GATES:
                return self.of(moved) * self.pooled(gate)
        raise NoFormulaError(f"a product of two pooled tensors in {node.name or node.output[0]}")

    def _layer_norm(self, node: onnx.NodeProto) -> np.ndarray:
        cells, pooled = self.of(node.input[0]), self.pooled(node.input[0])
        eps = next((entry.f for entry in node.attribute if entry.name == "epsilon"), 1e-5)
        deviation = np.sqrt(pooled.var(axis=-1, keepdims=True) + eps)
        weights = [self._constant(name) if name else None for name in node.input[1:3]]
        result = (cells - cells.mean(axis=-1, keepdims=True)) / deviation * weights[0]
        return result + weights[1] if len(weights) > 1 and weights[1] is not None else result

    def _fused(self, node: onnx.NodeProto) -> np.ndarray:
        """ONNX Runtime's Gemm with a Relu in it."""
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if attributes["activation"] != b"Relu" or attributes.get("transA", 0):
            raise NoFormulaError(f"the activation {attributes['activation']!r} in {node.name or node.output[0]}")
        weight = self._constant(node.input[1])
        weight = weight.T if attributes.get("transB", 0) else weight
        bias = self._constant(node.input[2]) * attributes.get("beta", 1.0) if len(node.input) > 2 else 0.0
        gain = attributes.get("alpha", 1.0)
        cells, pooled = (gain * (x @ weight) + bias for x in (self.of(node.input[0]), self.pooled(node.input[0])))
        return _slope(cells, pooled, np.maximum(pooled, 0), 0.0)

    def _positions(self, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
        """The map that a pool reads as (N, channels, H, W) in float64, and each cell's vector of it."""
        source = self.sources.get(node.input[0])
        if source is None:
            raise NoFormulaError(f"{node.op_type} in {node.name or node.output[0]} pools no claimed map")
        maps = np.moveaxis(self._maps[source.tensor].astype(np.float64), source.axes, range(-len(source.axes), 0))
        maps = maps.reshape(len(maps), -1, *self.size)
        return maps, maps[self.image, :, self.row, self.column]

    def _shaped(self, node: onnx.NodeProto, cells: np.ndarray) -> np.ndarray:
        return cells.reshape(self.pooled(node.output[0]).shape)

    def _max(self, node: onnx.NodeProto) -> np.ndarray:
        maps, cells = self._positions(node)
        top = maps.max(axis=(2, 3))
        ties = (maps == top[:, :, None, None]).sum(axis=(2, 3))
        share = (cells == top[self.image]) * math.prod(self.size) / ties[self.image]
        return self._shaped(node, share * cells)

    def _lp(self, node: onnx.NodeProto) -> np.ndarray:
        maps, cells = self._positions(node)
        power = next((entry.i for entry in node.attribute if entry.name == "p"), 2)
        total = (np.abs(maps) ** power).sum(axis=(2, 3))
        share = np.abs(cells) ** power * math.prod(self.size) / np.maximum(total, 1e-300)[self.image]
        return self._shaped(node, share * (total ** (1 / power))[self.image])

    def _constant(self, name: str) -> np.ndarray:
        for tensor in self.vendor.model.graph.initializer:
            if tensor.name == name:
                return onnx.numpy_helper.to_array(tensor).astype(np.float64)
        return self.vendor.observe([name])[name].astype(np.float64)


def _slope(cells: np.ndarray, pooled: np.ndarray, after: np.ndarray, at_zero: float) -> np.ndarray:
    """``phi(0) + z_cell * (phi(z) - phi(0)) / z``; where the pooled z is 0, phi is flat enough to be left out."""
    safe = np.where(pooled == 0, 1.0, pooled)
    return at_zero + cells * np.where(pooled == 0, 0.0, (after - at_zero) / safe)


def check_arrangement(vendor: Vendor, claim: Claim, entry: dict[str, Any]) -> list[str]:
    """Whether the grid's H x W is that of the map: by the vendor's tensor, by the catalogue, by the maps upstream."""
    height, width = claim.grid.shape[2:]
    problems = []
    ancestors: set[str] = set()
    for source in claim.sources:
        shape = vendor.observe([source.tensor])[source.tensor].shape
        extents = tuple(shape[axis] for axis in source.axes)
        if list(source.axes) != sorted(source.axes):
            problems.append(f"rows and columns of '{source.tensor}' are swapped")
        if len(extents) == 1:
            known = _planes_upstream(vendor, source.tensor, extents[0])
            if known and (height, width) not in known:
                problems.append(f"the grid is {height}x{width}, the map before the tokens was {sorted(known)}")
            if not known and height > 1:
                problems.append(f"the grid is {height}x{width}, and no map upstream says so")
        ancestors |= {name for node in vendor.between([], source.tensor) for name in node.output} | {source.tensor}
    listed = [head for head in entry.get("heads", []) if head["output"] == claim.output and head["grid_shape"]]
    if listed and not vendor.opens_space:
        problems += _against_catalogue(listed[0], claim, ancestors, (height, width))
    return problems


def check_orientation(
    vendor: Vendor, grid: np.ndarray, run: Callable[[dict[str, np.ndarray]], np.ndarray]
) -> list[str]:
    """Whether rows are rows and the first is on top: change a band of the image, see where the grid changes.

    Args:
        vendor: the untouched file.
        grid: (N, K, H, W) on its `feeds`.
        run: the grid of other feeds.
    """
    images = [(name, value) for name, value in vendor.feeds.items() if value.ndim == 4]
    if len(images) != 1 or min(grid.shape[2:]) < 4:
        return []
    name, image = images[0]
    first = 2 if image.shape[1] <= 4 else 1
    problems = []
    for axis, word in enumerate(("top rows", "leftmost columns")):
        band = [slice(None)] * 4
        band[first + axis] = slice(0, max(1, image.shape[first + axis] // 8))
        changed = image.copy()
        changed[tuple(band)] = changed[tuple(band)] * -1.5 if image.dtype.kind == "f" else 0
        moved = np.abs(run({**vendor.feeds, name: changed}).astype(np.float64) - grid).sum(axis=(0, 1))
        if not moved.sum() > 1e-3 * np.abs(grid).max():
            continue  # constant weights, or an input that only its sum matters of
        centres = [_centre(moved, 0), _centre(moved, 1)]
        if centres[axis] > 0.45 or centres[axis] > centres[1 - axis]:
            problems.append(
                f"the image's {word} move the grid around {centres[0]:.2f} of its height, {centres[1]:.2f} of its width"
            )
    return problems


def _centre(weights: np.ndarray, axis: int) -> float:
    """Centre of mass along an axis, from 0 to 1."""
    profile = weights.sum(axis=1 - axis)
    return float(profile @ (np.arange(len(profile)) + 0.5) / len(profile) / profile.sum())


def _against_catalogue(head: dict[str, Any], claim: Claim, ancestors: set[str], size: tuple[int, int]) -> list[str]:
    shape = head["grid_shape"]
    planes = [tuple(shape[2:]), tuple(shape[1:3])] if len(shape) == 4 else []
    positions = set(shape[1:]) if len(shape) == 3 else set()
    if size in planes or math.prod(size) in positions or head["grid"] not in ancestors:
        # A listed tensor that lies behind the map is what a first step of pooling has left of it.
        return []
    return [f"the grid is {size[0]}x{size[1]}, the catalogue's map '{head['grid']}' is {shape}"]


def _planes_upstream(vendor: Vendor, tensor: str, count: int) -> set[tuple[int, int]]:
    """Height and width of every four-axis tensor behind a row of tokens that has as many positions."""
    names = [name for node in vendor.between([], tensor) for name in node.output if name]
    planes = set()
    for value in vendor.observe(names).values():
        if isinstance(value, np.ndarray) and value.ndim == 4:
            for plane in (value.shape[2:], value.shape[1:3]):
                if math.prod(plane) == count and min(plane) > 1:
                    planes.add(tuple(int(extent) for extent in plane))
    return planes
