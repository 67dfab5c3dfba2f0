"""Small sessions on the CPU, beside NumPy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from onnx_gapmil.errors import ModelError
from onnx_gapmil.ort import cpu
from onnx_gapmil.ort.cpu import cpu_session, evaluate, session_options, thread_count
from onnx_gapmil.ort.quiet import onnxruntime_module

OPSETS = [helper.make_opsetid("", 17)]
NODES = [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Tanh", ["m"], ["t"])]


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(body: str, name: str = "w") -> onnx.ModelProto:
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,4] y) {{ {body} }}'
    )


def test_nodes_alone_give_what_numpy_gives_in_the_order_asked_for() -> None:
    a, b = rows(2, 3), rows(3, 4, seed=1)
    t, m = evaluate(NODES, {"a": a, "b": b}, ["t", "m"], OPSETS)
    np.testing.assert_allclose(m, a @ b, rtol=1e-5)
    np.testing.assert_allclose(t, np.tanh(a @ b), rtol=1e-5)


def test_nodes_are_read_in_the_operator_set_that_is_given() -> None:
    """Softmax works on the last axis from 13, and on all axes from the second before."""
    node = helper.make_node("Softmax", ["x"], ["y"])
    x = rows(2, 3, 4)
    (new,) = evaluate([node], {"x": x}, ["y"], [helper.make_opsetid("", 13)])
    (old,) = evaluate([node], {"x": x}, ["y"], [helper.make_opsetid("", 11)])
    e = np.exp(x)
    np.testing.assert_allclose(new, e / e.sum(axis=2, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(old, e / e.sum(axis=(1, 2), keepdims=True), rtol=1e-5)


def test_integers_stay_integers() -> None:
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=0)
    (found,) = evaluate([node], {"x": np.arange(6).reshape(3, 2), "i": np.array([2, 0])}, ["y"], OPSETS)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [[4, 5], [0, 1]])


def test_nodes_that_do_not_run_are_named() -> None:
    with pytest.raises(ModelError, match="Running Reshape alone failed"):
        evaluate([helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": rows(2, 3), "s": np.array([5])}, ["y"], OPSETS)


def test_nodes_that_do_not_load_are_an_error() -> None:
    with pytest.raises(ModelError, match="cannot be run"):
        evaluate([helper.make_node("Frobnicate", ["x"], ["y"])], {"x": rows(2, 3)}, ["y"], OPSETS)


def test_every_tensor_of_an_unoptimized_session_is_there() -> None:
    model = model_of("a = Identity(x) b = Relu(a) y = MatMul(b, w)")
    model.graph.initializer.append(numpy_helper.from_array(rows(3, 4), "w"))
    model.graph.output.append(onnx.ValueInfoProto(name="b"))
    x = rows(2, 3, seed=2)
    (b,) = cpu_session(model, None).run(["b"], {"x": x})
    np.testing.assert_array_equal(b, np.maximum(x, 0))


def test_weights_in_memory_are_used_where_they_lie() -> None:
    weight = rows(3, 4)
    model = model_of("y = MatMul(x, w)")
    model.graph.initializer.append(
        onnx.TensorProto(
            name="w",
            data_type=onnx.TensorProto.FLOAT,
            dims=weight.shape,
            data_location=onnx.TensorProto.EXTERNAL,
            external_data=[onnx.StringStringEntryProto(key="location", value="in memory")],
        )
    )
    x = rows(2, 3, seed=2)
    (y,) = cpu_session(model, None, weights={"w": weight}).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ weight, rtol=1e-5)
    with pytest.raises(ModelError, match="The model cannot be run"):
        cpu_session(model, None)


def test_external_data_is_read_from_the_folder(tmp_path: Path) -> None:
    weight = rows(3, 4)
    model = model_of("y = MatMul(x, w)")
    tensor = numpy_helper.from_array(weight, "w")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    model.graph.initializer.append(tensor)
    x = rows(2, 3, seed=2)
    (y,) = cpu_session(model, tmp_path).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ weight, rtol=1e-5)


@pytest.mark.parametrize(("optimize", "level"), [(True, "ORT_ENABLE_ALL"), (False, "ORT_DISABLE_ALL")])
def test_options_are_quiet_and_as_wide_as_the_process(optimize: bool, level: str) -> None:
    options = session_options(optimize=optimize)
    assert options.graph_optimization_level == getattr(onnxruntime_module().GraphOptimizationLevel, level)
    assert options.intra_op_num_threads == thread_count()
    assert options.log_severity_level == 4
    assert session_options(optimize=optimize, threads=3).intra_op_num_threads == 3


def test_threads_are_the_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert cpu.thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cpu.thread_count() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu.thread_count() == 1
