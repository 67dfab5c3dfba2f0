"""A few classes' grids, made without the others: equal to the rows of the whole grid, for every kind of head."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import assert_close, images, run, text_model, weights

OPSETS = [7, 8, 9, 10, 11, 12, 13, 17, 18, 21]
INIT = {
    "w": weights(9, 6),
    "b": weights(9),
    "v": weights(8, 6),
    "c": weights(8),
    "u": weights(9, 8),
    "scale": weights(6) + 3,
    "shift": weights(6),
    "mean": weights(6, seed=4),
    "var": np.abs(weights(6, seed=5)) + 1,
    "factor": weights(9, seed=6),
    "half": np.float32([0.5]),
    "k4": weights(9, 6, 1, 1),
    "k4g": weights(9, 2, 1, 1),
    "big": weights(9, 12),
    "many": np.array([3, 1, 8, 0, 2, 7, 5, 4, 6]),
}
POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)\n "
DENSE = POOL + "y = Gemm<transB=1>(f, w, b)"
#: Heads by name; each ends in y (N, 9).
HEADS = {
    "dense": DENSE,
    "no bias": POOL + "y = Gemm<transB=1>(f, w)",
    "scaled gemm": POOL + "y = Gemm<transB=1, alpha=0.5, beta=2.0>(f, w, b)",
    "matmul and add": POOL + "t = Transpose<perm=[1, 0]>(w)\n m = MatMul(f, t)\n y = Add(m, b)",
    "bias first": POOL + "t = Transpose<perm=[1, 0]>(w)\n m = MatMul(f, t)\n y = Sub(b, m)",
    "two dense layers": POOL + "h = Gemm<transB=1>(f, v, c)\n y = Gemm<transB=1>(h, u, b)",
    "relu between": POOL + "h = Gemm<transB=1>(f, v, c)\n r = Relu(h)\n y = Gemm<transB=1>(r, u, b)",
    "sigmoid between": POOL + "h = Gemm<transB=1>(f, v, c)\n r = Sigmoid(h)\n y = Gemm<transB=1>(r, u, b)",
    "batch norm before": "p = GlobalAveragePool(x)\n n = BatchNormalization(p, scale, shift, mean, var)\n"
    " f = Flatten(n)\n y = Gemm<transB=1>(f, w, b)",
    "scaled after": DENSE.replace("y =", "g =") + "\n y = Mul(g, factor)",
    "divided after": DENSE.replace("y =", "g =") + "\n y = Div(g, half)",
    "negative": DENSE.replace("y =", "g =") + "\n y = Neg(g)",
    "activation after": DENSE.replace("y =", "g =") + "\n y = Tanh(g)",
    "conv of the pooled map": "p = GlobalAveragePool(x)\n q = Conv(p, k4, b)\n y = Flatten(q)",
    "groups": "p = GlobalAveragePool(x)\n q = Conv<group=3>(p, k4g, b)\n y = Flatten(q)",
    "head before the pool": "q = Conv(x, k4, b)\n p = GlobalAveragePool(q)\n y = Flatten(p)",
    "reordered classes": DENSE.replace("y =", "g =") + "\n y = Gather<axis=1>(g, many)",
    "two branches": POOL + "m = GlobalMaxPool(x)\n l = Flatten(m)\n j = Concat<axis=1>(f, l)\n"
    " y = Gemm<transB=1>(j, big, b)",
    "sum of two heads": POOL + "m = GlobalMaxPool(x)\n l = Flatten(m)\n d = Gemm<transB=1>(f, w, b)\n"
    " e = Gemm<transB=1>(l, w)\n y = Add(d, e)",
}
#: Heads whose rows need no whole grid: in the graph, no operator makes nine channels of cells.
PULLED = sorted(set(HEADS) - {"groups", "head before the pool"})


def model_of(head: str, opset: int = 17, x: str = "float[N,6,3,5] x") -> onnx.ModelProto:
    body = HEADS[head]
    read = set(re.findall(r"\w+", body))
    used = {name: array for name, array in INIT.items() if name in read}
    return text_model(body, x=x, y="float[N,9] y", opset=opset, ir=3 if opset < 9 else 8, init=used)


def listed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Before IR 4 initializers must be inputs too."""
    if model.ir_version < 4:
        known = {value.name for value in model.graph.input}
        for tensor in model.graph.initializer:
            if tensor.name not in known:
                model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def emitted(model: onnx.ModelProto, x: np.ndarray, emit: str, **options: str) -> dict[str, np.ndarray]:
    made = rewrite_model(model, emit=emit, **options)  # type: ignore[arg-type]
    names = [value.name for value in made.model.graph.output]
    return dict(zip(names, run(made.model, {"x": x}, names), strict=True))


def check_rows(model: onnx.ModelProto, x: np.ndarray, **options: str) -> None:
    """``topk`` and ``classes`` by themselves against the whole grid of another rewrite."""
    whole = emitted(model, x, "grid", **options)
    some = emitted(model, x, "topk:3,classes:7,0", **options)
    assert set(some) == {"y", "gapmil_logits", "gapmil_topk_classes", "gapmil_topk_grid", "gapmil_classes_grid"}
    np.testing.assert_array_equal(some["y"], whole["y"])
    best = np.argsort(-whole["gapmil_logits"], axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(some["gapmil_topk_classes"], best)
    grid = whole["gapmil_grid"].astype(np.float64)
    assert_close(some["gapmil_topk_grid"], np.take_along_axis(grid, best[:, :, None, None], axis=1))
    assert_close(some["gapmil_classes_grid"], grid[:, [7, 0]])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_rows_equal_the_whole_grid(head: str, opset: int) -> None:
    model = listed(model_of(head, opset))
    check_rows(model, images(model))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("head", ["dense", "relu between", "head before the pool", "groups"])
def test_rows_on_every_operator_set(head: str, opset: int) -> None:
    model = listed(model_of(head, opset))
    check_rows(model, images(model))


@pytest.mark.parametrize("opset", [7, 11, 12, 17])
@pytest.mark.parametrize("head", ["dense", "relu between", "head before the pool", "batch norm before"])
def test_rows_where_the_size_is_open(head: str, opset: int) -> None:
    model = listed(model_of(head, opset, "float[N,6,H,W] x"))
    for size in ((2, 3), (4, 4)):
        check_rows(model, np.random.default_rng(2).standard_normal((2, 6, *size)).astype(np.float32))


@pytest.mark.parametrize("head", ["dense", "relu between", "head before the pool"])
def test_rows_of_a_fixed_batch_of_one(head: str) -> None:
    model = model_of(head, x="float[1,6,3,5] x")
    check_rows(model, images(model, batch=1))


@pytest.mark.parametrize("head", ["relu between", "sigmoid between", "activation after", "dense"])
def test_rows_of_the_instance_readout(head: str) -> None:
    model = model_of(head)
    check_rows(model, images(model), readout="instance")


def in_half(model: onnx.ModelProto, *, cast: bool) -> onnx.ModelProto:
    """The model in float16; ``cast``: with float32 outside, so that casts stand at both ends."""
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), tensor.name))
    if not cast:
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        return model
    for node in model.graph.node:
        node.input[:] = ["half_x" if name == "x" else name for name in node.input]
        node.output[:] = ["half_y" if name == "y" else name for name in node.output]
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["half_x"], to=onnx.TensorProto.FLOAT16))
    model.graph.node.append(onnx.helper.make_node("Cast", ["half_y"], ["y"], to=onnx.TensorProto.FLOAT))
    return model


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("head", HEADS)
def test_rows_in_half_precision(head: str, opset: int, cast: bool) -> None:
    """The original outputs stay equal bit for bit, which a Cast of what they are made of would not leave them."""
    model = in_half(model_of(head, opset), cast=cast)
    x = images(model)
    whole, some = emitted(model, x, "grid"), emitted(model, x, "topk:3,classes:7,0")
    np.testing.assert_array_equal(some["y"], run(model, x)[0])
    assert some["gapmil_topk_grid"].dtype == some["gapmil_classes_grid"].dtype == x.dtype
    grid = whole["gapmil_grid"].astype(np.float64)
    best = some["gapmil_topk_classes"]
    expected = np.take_along_axis(grid, best[:, :, None, None], axis=1)
    assert_close(some["gapmil_topk_grid"], expected, tolerance=5e-3)
    assert_close(some["gapmil_classes_grid"], grid[:, [7, 0]], tolerance=5e-3)


@pytest.mark.parametrize("head", ["dense", "relu between"])
def test_rows_in_float64(head: str) -> None:
    """Without a Conv in float64 the lift is a product of matrices, whose rows are taken as they are."""
    body = HEADS[head].replace("p = GlobalAveragePool(x)", "p = ReduceMean<axes=[2, 3]>(x)")
    init = {name: array.astype(np.float64) for name, array in INIT.items() if name in re.findall(r"\w+", body)}
    model = text_model(body, x="double[N,6,3,5] x", y="double[N,9] y", init=init)
    check_rows(model, images(model))


def tensors_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.output)
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}


@pytest.mark.parametrize("head", PULLED)
def test_no_whole_grid_is_in_the_graph(head: str) -> None:
    """Nine classes on 3x5 cells, nor eight hidden channels on them: three rows are cheaper all the way down."""
    made = rewrite_model(model_of(head), emit="topk:3,classes:7,0").model
    wide = {name: shape for name, shape in tensors_of(made).items() if shape[-2:] == (3, 5) and shape[1] in (8, 9)}
    assert wide == {}
    assert not [node for node in made.graph.node if node.op_type == "Conv" and node.name.startswith("gapmil")]


@pytest.mark.parametrize("opset", [17, 21])
def test_a_norm_between_two_layers_is_centred_in_the_rows(opset: int) -> None:
    """The mean over eight hidden channels is a mean over the rows' coefficients: no cell has hidden channels."""
    body = POOL + "h = Gemm<transB=1>(f, v, c)\n n = LayerNormalization(h, s, t)\n y = Gemm<transB=1>(n, u, b)"
    init = {key: INIT[key] for key in "vcub"} | {"s": weights(8) + 2, "t": weights(8, seed=3)}
    model = text_model(body, x="float[N,6,3,5] x", y="float[N,9] y", opset=opset, init=init)
    check_rows(model, images(model))
    made = rewrite_model(model, emit="topk:3").model
    assert {shape[1] for shape in tensors_of(made).values() if shape[-2:] == (3, 5)} <= {3, 6}


def test_a_whole_grid_that_is_there_is_used() -> None:
    made = rewrite_model(model_of("relu between"), emit="grid,topk:3").model
    (node,) = [node for node in made.graph.node if node.op_type == "GatherND"]
    shapes = tensors_of(made)
    assert shapes[node.input[0]][1] == 9
    whole = rewrite_model(model_of("relu between"), emit="grid").model
    convolutions = [sum(node.op_type == "Conv" for node in found.graph.node) for found in (made, whole)]
    assert convolutions[0] == convolutions[1]


def test_composing_a_layer_that_does_not_pay_is_left() -> None:
    """With as many rows as cells, k C C' multiplications to compose are more than the layer on the map."""
    model = text_model(
        POOL + "h = Gemm<transB=1>(f, v, c)\n r = Relu(h)\n y = Gemm<transB=1>(r, u, b)",
        x="float[N,6,1,2] x",
        y="float[N,9] y",
        init={key: INIT[key] for key in "vcub"},
    )
    few, many = (rewrite_model(model, emit=f"topk:{count}").model for count in (1, 6))
    hidden = [
        [name for name, shape in tensors_of(found).items() if shape[-2:] == (1, 2) and shape[1] == 8]
        for found in (few, many)
    ]
    assert hidden[0] == []
    assert hidden[1]
    x = np.random.default_rng(1).standard_normal((2, 6, 1, 2)).astype(np.float32)
    whole = emitted(model, x, "grid")["gapmil_grid"].astype(np.float64)
    some = emitted(model, x, "topk:6")
    expected = np.take_along_axis(whole, some["gapmil_topk_classes"][:, :, None, None], axis=1)
    assert_close(some["gapmil_topk_grid"], expected)


def test_all_classes_are_taken_from_the_whole_grid() -> None:
    """Rows gathered for every image would be the whole weight, once for each image."""
    made = rewrite_model(model_of("dense"), emit="topk:9").model
    assert [node.op_type for node in made.graph.node if node.name.startswith("gapmil")].count("Conv") == 1


def test_constants_of_chosen_classes_are_composed_when_the_model_is_loaded() -> None:
    made = rewrite_model(model_of("two dense layers"), emit="classes:2,5").model
    fixed = {tensor.name for tensor in made.graph.initializer}
    moving = []
    for node in made.graph.node:
        if all(name in fixed for name in node.input):
            fixed.update(node.output)
        elif node.name.startswith("gapmil"):
            moving.append(node.op_type)
    assert sorted(moving) == ["Add", "Add", "Identity", "Identity", "MatMul", "Reshape", "Reshape"]


def test_ties_go_to_the_lowest_class() -> None:
    model = text_model(POOL + "y = Gemm<transB=1>(f, z)", y="float[N,9] y", init={"z": np.zeros((9, 6), np.float32)})
    some = emitted(model, images(model), "topk:4,argmax")
    np.testing.assert_array_equal(some["gapmil_topk_classes"], np.tile([0, 1, 2, 3], (3, 1)))
    np.testing.assert_array_equal(some["gapmil_argmax"], np.zeros((3, 3, 5)))


@pytest.mark.parametrize("opset", [7, 11, 13, 18, 21])
@pytest.mark.parametrize("head", ["dense", "relu between", "two branches"])
def test_reference_evaluator_agrees(head: str, opset: int) -> None:
    model = model_of(head, opset)
    x = images(listed(model_of(head, opset)))
    emit = "topk:3,classes:7,0,argmax,certainty,peaks,scores:max,noisy_or,lse"
    made = rewrite_model(model if opset >= 9 else listed(model), emit=emit)
    names = [value.name for value in made.model.graph.output]
    reference = ReferenceEvaluator(made.model).run(names, {"x": x})
    for name, got, expected in zip(names, reference, run(made.model, {"x": x}, names), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=name)


@given(
    channels=st.integers(1, 5),
    hidden=st.integers(1, 6),
    classes=st.integers(1, 6),
    size=st.sampled_from([(1, 2), (2, 2), (3, 1), (4, 5)]),
    data=st.data(),
)
@settings(max_examples=40)
def test_any_head_with_a_hidden_layer(
    channels: int, hidden: int, classes: int, size: tuple[int, int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, classes))
    body = POOL + data.draw(st.sampled_from(["h = Gemm<transB=1>(f, v, c)\n r = HardSwish(h)\n", "r = Identity(f)\n "]))
    wide = hidden if "HardSwish" in body else channels
    init = {"u": weights(classes, wide), "b": weights(classes)}
    if "HardSwish" in body:
        init |= {"v": weights(hidden, channels), "c": weights(hidden)}
    model = text_model(
        body + " y = Gemm<transB=1>(r, u, b)",
        x=f"float[N,{channels},{size[0]},{size[1]}] x",
        y=f"float[N,{classes}] y",
        init=init,
    )
    x = np.random.default_rng(channels).standard_normal((2, channels, *size)).astype(np.float32)
    grid = emitted(model, x, "grid")["gapmil_grid"].astype(np.float64)
    some = emitted(model, x, f"topk:{count},classes:{classes - 1}")
    expected = np.take_along_axis(grid, some["gapmil_topk_classes"][:, :, None, None], axis=1)
    assert_close(some["gapmil_topk_grid"], expected)
    assert_close(some["gapmil_classes_grid"], grid[:, [classes - 1]])
