"""The rewritten file itself: every runtime that takes the vendor's takes it, and all of the vendor's is still in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.runtimes import export_cases
from onnx_gapmil.errors import GapmilError
from onnx_gapmil.graph.functions import inline_functions
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model, weights
from tests.references import runtimes, zoo

ROOT = Path(__file__).resolve().parents[2]

SAMPLES = sorted((ROOT / "sample_models").glob("*.onnx"))
#: Where `npm install onnxruntime-web` was run, for the test of ONNX Runtime Web.
WEB = os.environ.get("GAPMIL_NODE_MODULES", "")
W = weights(5, 6)
HALF = W.astype(np.float16)
DENSE = "y = Gemm<transB=1>(f, w, b)"
FLAT = f"p = GlobalAveragePool(x) f = Flatten(p) {DENSE}"
PARTS = {"w": W, "b": weights(5)}

#: A head of each family of rules: the body of its graph, its weights, and what differs from float32, opset 17, NCHW.
HEADS: dict[str, tuple[str, dict[str, np.ndarray], dict[str, Any]]] = {
    "shape: flatten": (FLAT, PARTS, {}),
    "shape: computed reshape": (
        "p = GlobalAveragePool(x) s = Shape(p) n = Gather<axis=0>(s, at) c = Concat<axis=0>(n, rest) "
        f"f = Reshape(p, c) {DENSE}",
        {**PARTS, "at": np.array([0]), "rest": np.array([-1])},
        {},
    ),
    "shape: transpose, squeeze, slice": (
        "p = GlobalAveragePool(x) t = Transpose<perm=[0,2,3,1]>(p) s = Squeeze(t, axes) k = Slice(s, from, to, one) "
        "y = Gemm<transB=1>(k, w, b)",
        {
            "w": W[:, :4],
            "b": PARTS["b"],
            "axes": np.array([1, 2]),
            "from": np.array([1]),
            "to": np.array([5]),
            "one": np.array([1]),
        },
        {},
    ),
    "affine: matmul, add, scale": (
        "p = GlobalAveragePool(x) f = Flatten(p) m = MatMul(f, w) a = Add(m, b) y = Div(a, two)",
        {"w": W.T.copy(), "b": PARTS["b"], "two": np.array(2.0, np.float32)},
        {},
    ),
    "affine: gemm with alpha and beta": (
        "p = GlobalAveragePool(x) f = Flatten(p) y = Gemm<alpha=0.5, beta=2.0, transB=1>(f, w, b)",
        PARTS,
        {},
    ),
    "affine: convolution and batch norm": (
        "p = GlobalAveragePool(x) n = BatchNormalization(p, g, h, m, v) c = Conv<group=2>(n, k) y = Flatten(c)",
        {
            "g": weights(6),
            "h": weights(6, seed=1),
            "m": weights(6, seed=2),
            "v": np.abs(weights(6)) + 1,
            "k": weights(4, 3, 1, 1),
        },
        {"y": "float[N,4] y"},
    ),
    "affine: split and concat": (
        f"p = GlobalAveragePool(x) g = Flatten(p) u, v = Split<axis=1>(g, s) f = Concat<axis=1>(v, u) {DENSE}",
        {**PARTS, "s": np.array([2, 4])},
        {},
    ),
    "affine: einsum": (
        'p = ReduceMean<axes=[2,3], keepdims=0>(x) y = Einsum<equation="nc,kc->nk">(p, w)',
        {"w": W},
        {},
    ),
    "activation: relu, hard swish": (
        "p = GlobalAveragePool(x) f = Flatten(p) h = Gemm<transB=1>(f, v) r = HardSwish(h) y = Gemm<transB=1>(r, w, b)",
        {**PARTS, "v": weights(6, 6)},
        {},
    ),
    "activation: tanh": (f"p = GlobalAveragePool(x) t = Tanh(p) f = Flatten(t) {DENSE}", PARTS, {}),
    "gate: silu spelled out": (
        "p = GlobalAveragePool(x) q = Flatten(p) s = Sigmoid(q) f = Mul(q, s) y = Gemm<transB=1>(f, w, b)",
        PARTS,
        {},
    ),
    "norm: layer normalization": (
        f"p = ReduceMean<axes=[2,3], keepdims=0>(x) f = LayerNormalization<axis=-1>(p, g, h) {DENSE}",
        {**PARTS, "g": weights(6), "h": weights(6, seed=1)},
        {},
    ),
    "norm: l2": (
        f"p = ReduceMean<axes=[2,3], keepdims=0>(x) f = LpNormalization<axis=1, p=2>(p) {DENSE}",
        PARTS,
        {},
    ),
    "pool: channels last": (
        f"f = ReduceMean<axes=[1,2], keepdims=0>(x) {DENSE}",
        PARTS,
        {"x": "float[N,3,5,6] x"},
    ),
    "pool: tokens": (f"f = ReduceMean<axes=[1], keepdims=0>(x) {DENSE}", PARTS, {"x": "float[N,15,6] x"}),
    "pool: window": (
        f"p = AveragePool<kernel_shape=[3,5]>(x) f = Flatten(p) {DENSE}",
        PARTS,
        {},
    ),
    "pool: window with padding": (
        "p = AveragePool<kernel_shape=[4,6], pads=[0,0,1,1], count_include_pad=1>(x) f = Flatten(p) " + DENSE,
        PARTS,
        {},
    ),
    "pool: max": (f"p = GlobalMaxPool(x) f = Flatten(p) {DENSE}", PARTS, {}),
    "pool: average and max": (
        "p = GlobalAveragePool(x) q = GlobalMaxPool(x) s = Add(p, q) f = Flatten(s) " + DENSE,
        PARTS,
        {},
    ),
    "pool: lp": (f"p = GlobalLpPool<p=2>(x) f = Flatten(p) {DENSE}", PARTS, {}),
    "pool: sum": (f"f = ReduceSum<keepdims=0>(x, axes) {DENSE}", {**PARTS, "axes": np.array([2, 3])}, {}),
    "opset 7": (FLAT, PARTS, {"opset": 7, "ir": 3}),
    "opset 9": (FLAT, PARTS, {"opset": 9, "ir": 4}),
    "opset 11, reduction": (f"f = ReduceMean<axes=[2,3], keepdims=0>(x) {DENSE}", PARTS, {"opset": 11, "ir": 6}),
    "opset 13": (FLAT, PARTS, {"opset": 13, "ir": 7}),
    "opset 18, axes as input": (
        f"f = ReduceMean<keepdims=0>(x, axes) {DENSE}",
        {**PARTS, "axes": np.array([2, 3])},
        {"opset": 18},
    ),
    "opset 21": (FLAT, PARTS, {"opset": 21, "ir": 10}),
    "half precision": (
        FLAT,
        {"w": HALF, "b": PARTS["b"].astype(np.float16)},
        {"x": "float16[N,6,3,5] x", "y": "float16[N,5] y"},
    ),
    "half precision, conditional": (
        f"p = ReduceMean<axes=[2,3], keepdims=0>(x) f = Relu(p) {DENSE}",
        {"w": HALF, "b": PARTS["b"].astype(np.float16)},
        {"x": "float16[N,6,3,5] x", "y": "float16[N,5] y"},
    ),
    "double precision": (
        f"f = ReduceMean<axes=[2,3], keepdims=0>(x) {DENSE}",
        {"w": W.astype(np.float64), "b": PARTS["b"].astype(np.float64)},
        {"x": "double[N,6,3,5] x", "y": "double[N,5] y"},
    ),
    "quantized and dequantized": (
        "p = GlobalAveragePool(x) q = QuantizeLinear(p, s, z) d = DequantizeLinear(q, s, z) f = Flatten(d) " + DENSE,
        {**PARTS, "s": np.array(0.05, np.float32), "z": np.array(0, np.int8)},
        {"opset": 21, "ir": 10},
    ),
}


def _head(name: str) -> onnx.ModelProto:
    body, init, extra = HEADS[name]
    model = text_model(body, init=init, **extra)
    if model.ir_version < 4:
        model.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in model.graph.initializer
        )
    return model


def _require(runtime: str) -> None:
    if runtime == "openvino" and runtimes.installed("openvino") is None:
        pytest.skip("NOT RUN: OpenVINO is not installed; 'pip install openvino' to run these tests")


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("name", HEADS)
def test_a_head_of_each_rule_has_the_same_grid_in_each_runtime(name: str, runtime: str, tmp_path: Path) -> None:
    _require(runtime)
    path = tmp_path / "head.onnx"
    path.write_bytes(_head(name).SerializeToString())
    row = runtimes.check_file(path, name, (runtime,))
    assert row.verdict in ("exact", "conditional"), row.answers
    answer = row.answers[runtime]
    if answer.state.startswith("original"):
        pytest.skip(f"NOT RUN: {runtime} does not do the original either: {answer.why}")
    assert answer.state == "equal", answer.why


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_model_has_the_same_grid_in_each_runtime(path: Path, runtime: str) -> None:
    _require(runtime)
    row = runtimes.check_file(path, path.name, (runtime,))
    if row.verdict == "refused":
        assert "_vit" in path.stem
        return
    answer = row.answers[runtime]
    if answer.state.startswith("original"):
        pytest.skip(f"NOT RUN: {runtime} does not do the original either: {answer.why}")
    assert answer.state == "equal", answer.why


@pytest.mark.skipif(not WEB, reason="NOT RUN: set GAPMIL_NODE_MODULES to a node_modules that has onnxruntime-web")
def test_sample_models_have_the_same_grid_in_the_browsers_runtime(tmp_path: Path) -> None:
    export_cases(SAMPLES, tmp_path)
    node = shutil.which("node")
    assert node is not None
    command = [node, str(ROOT / "benchmarks" / "runtimes_web.mjs"), str(tmp_path), WEB]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def _spread() -> list[object]:
    entries = zoo.spread(zoo.read_catalogue(zoo.ZOO))
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason="there is no shared zoo beside the checkout"))]
    return [pytest.param(entry, id=entry["file"]) for entry in entries]


@pytest.mark.shared
@pytest.mark.parametrize("entry", _spread())
def test_zoo_file_has_the_same_grid_in_each_runtime(entry: dict[str, Any]) -> None:
    row = runtimes.check_file(zoo.ZOO / entry["file"], entry["file"])
    wrong = {name: answer.why for name, answer in row.answers.items() if answer.state in ("differs", "fails")}
    assert not wrong


def test_a_grid_that_another_runtime_gets_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "head.onnx"
    path.write_bytes(_head("shape: flatten").SerializeToString())
    case = runtimes.make_case(path, tmp_path / "..")
    assert case is not None
    right = dict(case.expected)
    before = [right[name] for name in case.outputs]
    grid = case.heads[0][1]
    assert runtimes.judge(case, before, right).state == "equal"
    for wrong in (right[grid] * 1.001, np.swapaxes(right[grid], 2, 3), right[grid][:, ::-1]):
        assert runtimes.judge(case, before, {**right, grid: wrong}).state == "differs"


def test_integer_logits_load_optimized_too(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 moves the DequantizeLinear behind a Reshape of it, and does not load what that makes."""
    model = text_model(
        "p = GlobalAveragePool(x) f = Flatten(p) m = Gemm<transB=1>(f, w, b) q = QuantizeLinear(m, s, z) "
        "y = DequantizeLinear(q, s, z)",
        opset=23,
        ir=11,
        init={**PARTS, "s": np.array(0.05, np.float32), "z": np.array(3, np.int8)},
    )
    path = tmp_path / "head.onnx"
    path.write_bytes(model.SerializeToString())
    row = runtimes.check_file(path, path.name, ("checker",))
    assert row.answers == {"checker": runtimes.Answer("equal")}


# --- nothing of the vendor's is changed ---------------------------------------------------------------------------

#: What may grow at its end. Every other field must be equal, those that future versions of onnx add included.
GROWN = {"ModelProto": {"metadata_props"}, "GraphProto": {"node", "initializer", "output"}}


def changes(before: Any, after: Any) -> list[str]:
    """Fields of a message that are not what they were."""
    kind = before.DESCRIPTOR.name
    found = []
    for field in before.DESCRIPTOR.fields:
        old, new = getattr(before, field.name), getattr(after, field.name)
        if kind == "ModelProto" and field.name == "graph":
            found += changes(old, new)
        elif field.name in GROWN.get(kind, ()):
            if list(new)[: len(old)] != list(old):
                found.append(f"{kind}.{field.name}")
        elif isinstance(old, int | float | str | bytes):
            if old != new or before.HasField(field.name) != after.HasField(field.name):
                found.append(f"{kind}.{field.name}")
        elif (list(old) != list(new)) if field.is_repeated else (old != new):
            found.append(f"{kind}.{field.name}")
    return found


def _model_with_every_field() -> onnx.ModelProto:
    """A classifier in whose model, graph, node and tensor messages every field that there is has a value."""
    model = text_model(FLAT, init=PARTS, ir=11, opset=23)
    entry = onnx.StringStringEntryProto(key="vendor", value="kept")
    model.producer_name, model.producer_version, model.domain = "vendor", "4.2", "com.vendor"
    model.model_version, model.doc_string = 7, "the vendor's model"
    model.metadata_props.append(entry)
    model.functions.append(
        helper.make_function(
            "com.vendor",
            "Twice",
            ["a"],
            ["c"],
            [helper.make_node("Add", ["a", "a"], ["c"])],
            [helper.make_opsetid("", 23)],
            doc_string="not called",
            overload="second",
        )
    )
    model.opset_import.append(helper.make_opsetid("com.vendor", 1))
    training = model.training_info.add()
    training.initialization.name = "first"
    training.initialization_binding.append(onnx.StringStringEntryProto(key="w", value="w0"))
    model.configuration.append(onnx.DeviceConfigurationProto(name="two", num_devices=2))
    graph = model.graph
    graph.doc_string = "the vendor's graph"
    graph.metadata_props.append(entry)
    graph.value_info.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 6, 1, 1]))
    graph.input[0].doc_string, graph.input[0].type.denotation = "a photo", "IMAGE"
    graph.input[0].type.tensor_type.shape.dim[1].denotation = "DATA_CHANNEL"
    graph.input[0].metadata_props.append(entry)
    graph.quantization_annotation.append(onnx.TensorAnnotation(tensor_name="p", quant_parameter_tensor_names=[entry]))
    dense = numpy_helper.from_array(np.array([1.5, 2.5], np.float32), "sparse")
    places = numpy_helper.from_array(np.array([1, 3], np.int64), "sparse_places")
    graph.sparse_initializer.append(onnx.SparseTensorProto(values=dense, indices=places, dims=[6]))
    graph.node.append(helper.make_node("Identity", ["sparse"], ["unused"]))
    for count, node in enumerate(graph.node):
        node.name, node.doc_string = f"vendor_{count}", f"step {count}"
        node.metadata_props.append(entry)
        node.device_configurations.add().configuration_id = "two"
    for tensor in graph.initializer:
        tensor.doc_string = "learned"
        tensor.metadata_props.append(entry)
    return model


def test_every_field_of_the_vendors_proto_is_kept(tmp_path: Path) -> None:
    model = _model_with_every_field()
    for message in (model, model.graph):
        assert {field.name for field, _ in message.ListFields()} == {field.name for field in message.DESCRIPTOR.fields}
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    rewritten = rewrite_model(model).model
    assert model == kept
    assert changes(model, rewritten) == []
    assert len(rewritten.graph.output) == len(model.graph.output) + 3


@pytest.mark.parametrize("path", ["graph.node", "graph.output", "graph.doc_string", "graph.value_info", "functions"])
def test_the_comparison_sees_a_change(path: str) -> None:
    model = _model_with_every_field()
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    *parents, field = path.split(".")
    message = changed.graph if parents else changed
    if field == "doc_string":
        message.doc_string = "ours"
    else:
        del getattr(message, field)[0]
    assert [name.split(".")[1] for name in changes(model, changed)] == [field]


def _zoo_files() -> list[object]:
    entries = zoo.read_catalogue(zoo.ZOO)
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason="there is no shared zoo beside the checkout"))]
    return [entry["file"] for entry in entries]


@pytest.mark.shared
@pytest.mark.parametrize("file", _zoo_files())
def test_zoo_file_keeps_all_that_its_vendor_wrote(file: str) -> None:
    path = zoo.ZOO / file
    try:
        found = rewrite_model(path)
    except GapmilError:
        return  # what is not rewritten is not changed
    vendor = onnx.load(str(path), load_external_data=False)
    assert found.source.proto == vendor
    assert changes(inline_functions(vendor) if found.inlined else vendor, found.model) == []
