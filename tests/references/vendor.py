"""A vendor's untouched model, cut open: any tensor can be observed, and any part of the graph run on its own.

Nothing here uses the package's own graph code, so that a fault in it cannot hide itself.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.inliner
import onnx.parser
import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ort.set_default_logger_severity(4)

#: Heights and widths to try where a model leaves them open; not square first, so that a swap of the two shows.
OPEN_SIZES = ((64, 96), (64, 64), (32, 32), (48, 192), (224, 224))
#: What an image passes on the way to an output without saying anything about its pixels.
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_ACTIVATIONS = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "Hardmax", "TopK"})
_INTEGER_PRODUCTS = frozenset({"MatMulInteger", "QGemm", "QLinearMatMul"})
_CARRIERS = frozenset(
    {"ArrayFeatureExtractor", "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape"}
    | {"Squeeze", "Unsqueeze", "ZipMap"}
)


class Vendor:
    """One file as its vendor made it.

    Attributes:
        path: the file.
        model: it, read whole; local functions inlined if ``inlined``.
        feeds: the seeded input that every figure is measured on.
    """

    def __init__(self, path: Path, *, inlined: bool = False, seed: int = 0) -> None:
        self.path = path
        self.model = onnx.load(str(path))
        if inlined:
            self.model = _inline(self.model)
        self.producers = {name: node for node in self.model.graph.node for name in node.output if name}
        self.constants = {tensor.name for tensor in self.model.graph.initializer}
        self._sessions: dict[tuple[str, ...], ort.InferenceSession] = {}
        self.feeds = self._first_that_runs(seed)

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """What has to be fed; up to IR version 3, initializers are listed among the inputs."""
        return [value for value in self.model.graph.input if value.name not in self.constants]

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs."""
        return [value.name for value in self.model.graph.output]

    @property
    def opens_batch(self) -> bool:
        """Whether the batch is free."""
        return any(not _dims(value)[:1] or _dims(value)[0] is None for value in self.inputs)

    @property
    def opens_space(self) -> bool:
        """Whether height or width is free."""
        return any(None in _dims(value)[1:] for value in self.inputs)

    @cached_property
    def untouched(self) -> dict[str, np.ndarray]:
        """What the file itself, byte for byte, answers to `feeds`."""
        return dict(zip(self.outputs, self._own_session().run(self.outputs, self.feeds), strict=True))

    def _own_session(self) -> ort.InferenceSession:
        """The file itself; where ONNX Runtime wants small external tensors in the file, the same with them inside."""
        try:
            return _session(str(self.path), integers=has_integer_products(self.model))
        except ort.capi.onnxruntime_pybind11_state.Fail as error:
            if "external" not in str(error):
                raise
            return _session(self.model.SerializeToString())

    def _first_that_runs(self, seed: int) -> dict[str, np.ndarray]:
        session = self._own_session()
        error: Exception | None = None
        for batch, size in _sizes(self):
            feeds = {value.name: _random(value, batch, size, seed) for value in self.inputs}
            try:
                session.run(self.outputs, feeds)
            except Exception as problem:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
                error = problem
                continue
            return feeds
        raise RuntimeError(f"{self.path.name} runs at no size that was tried") from error

    def observe(self, names: Iterable[str], feeds: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Values of any tensors of the graph on `feeds`."""
        names = tuple(dict.fromkeys(names))
        if names not in self._sessions:
            opened = onnx.ModelProto()
            opened.CopyFrom(self.model)
            have = set(self.outputs)
            opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
            self._sessions[names] = _session(opened.SerializeToString(), integers=has_integer_products(opened))
        return dict(zip(names, self._sessions[names].run(list(names), feeds or self.feeds), strict=True))

    def logits_of(self, output: str) -> str:
        """The last tensor before a final activation; the output itself where there is none."""
        tensor, logits = output, output
        while (node := self.producers.get(tensor)) is not None and node.op_type in _ACTIVATIONS | _CARRIERS:
            moving = [
                name for name in node.input if name and name not in self.constants and not self._is_constant(name)
            ]
            if len(moving) != 1:
                break
            tensor = moving[0]
            if node.op_type in _ACTIVATIONS:
                logits = tensor
        return logits

    def _is_constant(self, name: str) -> bool:
        return name in self.producers and self.producers[name].op_type == "Constant"

    def between(self, stops: Iterable[str], target: str, *, through_shapes: bool = True) -> list[onnx.NodeProto]:
        """Nodes that make ``target`` when the tensors ``stops`` are given, in the graph's order."""
        stops, seen, kept = set(stops), set(), set()
        stack = [target]
        while stack:
            name = stack.pop()
            node = self.producers.get(name)
            if name in stops or name in seen or node is None:
                continue
            seen.add(name)
            kept.add(id(node))
            if through_shapes or node.op_type not in _SHAPE_ONLY:
                stack.extend(_reads(node))
        return [node for node in self.model.graph.node if id(node) in kept]

    def sees_image(self, stops: Iterable[str], target: str) -> bool:
        """Whether pixels reach ``target`` past the tensors ``stops``."""
        stops, images = set(stops), {value.name for value in self.inputs}
        for node in self.between(stops, target, through_shapes=False):
            if node.op_type not in _SHAPE_ONLY and (images - stops).intersection(_reads(node)):
                return True
        return False

    def run_part(self, given: dict[str, np.ndarray], target: str) -> np.ndarray:
        """``target``, computed by the vendor's own nodes from ``given`` tensors in place of what made them.

        Args:
            given: by tensor; all have the same batch.
            target: the tensor to compute.
        """
        if target in given:
            return given[target]
        key = ("part", target, *sorted(given))
        if key not in self._sessions:
            self._sessions[key] = _session(self._part(given, target).SerializeToString())
        session = self._sessions[key]
        batch = next(iter(given.values())).shape[0]
        feeds = dict(given)
        for name, image in self.feeds.items():  # only its shape can matter: `sees_image` rules the rest out
            feeds[name] = np.resize(image, (batch, *image.shape[1:])) if name not in given else given[name]
        wanted = {value.name for value in session.get_inputs()}
        return session.run([target], {name: value for name, value in feeds.items() if name in wanted})[0]

    def _part(self, given: dict[str, np.ndarray], target: str) -> onnx.ModelProto:
        nodes = []
        for node in self.between(given, target):
            kept = onnx.NodeProto()
            kept.CopyFrom(node)
            for place, name in enumerate(kept.output):
                if name in given:
                    kept.output[place] = f"{name}.own"
            nodes.append(kept)
        read = {name for node in nodes for name in _reads(node)}
        inputs = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in given.items()
        ]
        inputs += [value for value in self.inputs if value.name in read and value.name not in given]
        weights = [
            tensor for tensor in self.model.graph.initializer if tensor.name in read and tensor.name not in given
        ]
        graph = onnx.helper.make_graph(nodes, "part", inputs, [onnx.ValueInfoProto(name=target)], weights)
        part = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, functions=self.model.functions)
        part.ir_version = max(self.model.ir_version, 4)
        return part


def _reads(node: onnx.NodeProto) -> list[str]:
    """Tensors that a node reads, inside its subgraphs too."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [name for inner in graph.node for name in _reads(inner)]
    return names


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """Local functions inlined; their operator sets are set to the model's, or the inliner skips them in silence."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for function in model.functions:
        for entry in function.opset_import:
            entry.version = versions.get(entry.domain, entry.version)
    return onnx.inliner.inline_local_functions(model)


def _session(model: str | bytes, *, integers: bool = False) -> ort.InferenceSession:
    """A session that runs the nodes as they are spelled.

    Args:
        model: a path, or a serialized model.
        integers: it has matrix products of integers. On processors without VNNI these saturate, and the mode that keeps
            them from it is an optimization; a few files do not load in it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if integers and saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            return _session(model)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def saturates() -> bool:
    """Whether this processor's kernels for products of uint8 and int8 saturate."""
    product = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (uint8[1, 2] a, int8[2, 1] b) => (int32[1, 1] y) { y = MatMulInteger(a, b) }"""
    )
    feeds = {"a": np.full((1, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)}
    return int(_session(product.SerializeToString()).run(None, feeds)[0][0, 0]) != 2 * 255 * 127


def has_integer_products(model: onnx.ModelProto) -> bool:
    """Whether a model multiplies matrices of integers as it is spelled."""
    return any(node.op_type in _INTEGER_PRODUCTS for node in model.graph.node)


def open_model(model: onnx.ModelProto, folder: Path) -> ort.InferenceSession:
    """A session for a model in memory, whose external data lie in ``folder``."""
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        onnx.load_external_data_for_model(whole, str(folder))
        model = whole
    return _session(model.SerializeToString(), integers=has_integer_products(model))


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim]


def _sizes(vendor: Vendor) -> Iterator[tuple[int, tuple[int, int]]]:
    for batch in (2, 1) if vendor.opens_batch else (1,):
        for size in OPEN_SIZES if vendor.opens_space else OPEN_SIZES[:1]:
            yield batch, size


def _random(value: onnx.ValueInfoProto, batch: int, size: tuple[int, int], seed: int) -> np.ndarray:
    dims = _dims(value)
    free = [axis for axis, dim in enumerate(dims) if dim is None and axis > 0]
    shape = [dim if dim is not None else 3 for dim in dims]
    for axis, extent in zip(free[-2:], size[-len(free) :], strict=False):
        shape[axis] = extent
    if dims and dims[0] is None:
        shape[0] = batch
    rng = np.random.default_rng(seed)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if dtype.kind in "iub":
        return rng.integers(0, 256 if dtype.kind == "u" else 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
