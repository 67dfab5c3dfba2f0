"""Sparse weights: of a pruned head or trunk, in both kinds of indices, and what a damaged file may say of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.graph.sparse import dense_tensor
from onnx_gapmil.rewriting.inspection import inspect
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import (
    Head,
    Lifted,
    assert_close,
    assert_mean_is_logits,
    chain,
    dense,
    frozen,
    images,
    lift,
    text_model,
    weights,
)

POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n"


def pruned(*shape: int) -> np.ndarray:
    """Weights of which most are 0."""
    found = weights(*shape)
    return np.where(np.abs(found) < 0.8, 0, found).astype(np.float32)


def sparse(name: str, array: np.ndarray, *, rows: bool = False) -> onnx.SparseTensorProto:
    """A tensor by its non-zero values, their indices in row-major order or one row for each."""
    held = np.flatnonzero(array)
    indices = np.argwhere(array) if rows else held
    return onnx.SparseTensorProto(
        dims=array.shape,
        values=numpy_helper.from_array(array.ravel()[held], name),
        indices=numpy_helper.from_array(indices.astype(np.int64), f"{name}_at"),
    )


def head(body: str, *, rows: bool = False, **arrays: np.ndarray) -> onnx.ModelProto:
    """A model whose weights are sparse initializers."""
    model = text_model(body)
    model.graph.sparse_initializer.extend(sparse(name, array, rows=rows) for name, array in arrays.items())
    return model


def check(model: onnx.ModelProto, formula: Head, verdict: str = "exact") -> Lifted:
    """The grid of a formula in float64; onnx's checker, unlike runtimes, takes no sparse weight for a dense one."""
    found = lift(model, images(model), check=False)
    assert found.verdict == verdict
    assert_mean_is_logits(found)
    assert_close(found.grid, formula(found.x.astype(np.float64)))
    return found


@pytest.mark.parametrize("rows", [False, True], ids=["numbers", "rows"])
def test_a_sparse_dense_layer_is_lifted(rows: bool) -> None:
    w, b = pruned(5, 6), pruned(5)
    model = head(f"{POOL} y = Gemm<transB=1>(f, w, b)", rows=rows, w=w, b=b)
    found = check(model, dense(w, b))
    # Written as it was: a pruned file stays small.
    assert list(found.rewrite.model.graph.sparse_initializer) == list(model.graph.sparse_initializer)


def test_a_sparse_layer_before_an_activation_is_run_in_float64_too() -> None:
    w, v = pruned(7, 6), pruned(5, 7)
    model = head(f"{POOL} h = Gemm<transB=1>(f, w)\n r = Relu(h)\n y = Gemm<transB=1>(r, v)", w=w, v=v)
    relu = frozen(lambda z: np.maximum(z, 0))
    check(model, chain(dense(w), relu, dense(v)), "conditional")
    report = rewrite(model, write=False).proof
    assert report is not None
    assert report.to_json()["sum"]["float64"]["passed"]


def test_a_constant_with_a_sparse_value_is_lifted() -> None:
    w = pruned(5, 6)
    model = text_model(f"{POOL} t = Transpose(w)\n y = Gemm(f, t)")
    node = onnx.helper.make_node("Constant", [], ["w"], sparse_value=sparse("held", w))
    nodes = [node, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    check(model, dense(w))


def test_indices_of_few_bits_are_read_as_onnx_runtime_saves_them() -> None:
    w = pruned(5, 6)
    tensor = sparse("w", w)
    tensor.indices.CopyFrom(numpy_helper.from_array(np.flatnonzero(w).astype(np.int8), "at"))
    np.testing.assert_array_equal(numpy_helper.to_array(dense_tensor(tensor)), w)
    model = text_model(f"{POOL} y = Gemm<transB=1>(f, w)")
    model.graph.sparse_initializer.append(tensor)
    load_model(model)


def test_parameters_that_are_held_are_counted() -> None:
    w = pruned(5, 6)
    assert inspect(head(f"{POOL} y = Gemm<transB=1>(f, w)", w=w)).parameters == np.count_nonzero(w)


def test_indices_beyond_a_tensor_are_refused() -> None:
    tensor = sparse("w", pruned(5, 6))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.full(tensor.indices.dims[0], 30, np.int64), "at"))
    with pytest.raises(ModelError, match="index outside"):
        dense_tensor(tensor)


@pytest.mark.parametrize(
    ("dims", "count", "kind", "said"),
    [
        pytest.param((5, 6), 3, np.int64, "3 values and indices of shape", id="too_few_indices"),
        pytest.param((1 << 20, 1 << 20), 2, np.int64, "absurd shape", id="enormous_when_written_out"),
        pytest.param((5, -6), 2, np.int64, "absurd shape", id="negative_extent"),
        pytest.param((5, 6), 2, np.float32, "no integers", id="indices_that_are_no_numbers_of_places"),
    ],
)
def test_a_damaged_sparse_weight_is_named(dims: tuple[int, ...], count: int, kind: type, said: str) -> None:
    model = text_model(f"{POOL} y = Gemm<transB=1>(f, w)")
    values = numpy_helper.from_array(np.ones(count, np.float32), "w")
    indices = numpy_helper.from_array(np.arange(2).astype(kind), "at")
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=dims, values=values, indices=indices))
    with pytest.raises(ModelError, match=said) as found:
        load_model(model)
    assert "'w'" in str(found.value)
