"""Sums: where they keep a place, and where they lose it."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.lift.coordinates.fields import MIXED, POOLED
from tests.helpers.support import coordinate, coordinates_of, text_model, weights


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_patches_look_at_their_middle() -> None:
    model = text_model(
        "r = Reshape(x, s)\n t = Transpose<perm=[0, 2, 4, 1, 3, 5]>(r)\n p = Reshape(t, q)\n m = MatMul(p, w)",
        x="float[1,3,8,12] x",
        y="float[1,6,5] m",
        init={"s": ints(1, 3, 2, 4, 3, 4), "q": ints(1, 6, 48), "w": weights(48, 5)},
    )
    looks = coordinates_of(model)
    np.testing.assert_allclose(coordinate(looks, 2)[0, :, 0], [2, 2, 2, 6, 6, 6])
    np.testing.assert_allclose(coordinate(looks, 3)[0, :, 0], [2, 6, 10, 2, 6, 10])


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ("m = MatMul(w, x)", MIXED),
        ('m = Einsum<equation="tu,nuc->ntc">(w, x)', MIXED),
        ("m = ReduceMean<axes=[1]>(x)", POOLED),
        ("m = ReduceMax<axes=[1], keepdims=0>(x)", POOLED),
    ],
)
def test_sum_over_positions_loses_them(body: str, state: float) -> None:
    model = text_model(body, x="float[1,6,3] x", y="float[1,a,b] m", init={"w": weights(6, 6)})
    if "keepdims=0" in body:
        model.graph.output[0].type.tensor_type.shape.dim.pop()
    assert (coordinate(coordinates_of(model), 1) == state).all()


def test_mixture_beside_a_skip_keeps_its_places() -> None:
    model = text_model(
        "s = MatMul(w, x)\n m = Add(x, s)", x="float[1,6,3] x", y="float[1,6,3] m", init={"w": weights(6, 6)}
    )
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 1)[0, :, 0], np.arange(6) + 0.5)


@pytest.mark.parametrize(
    "body",
    ["m = MatMul(w, x)", 'm = Einsum<equation="tu,nuc->ntc">(w, x)', 'm = Einsum<equation="...uc,tu->...tc">(x, w)'],
)
def test_permutation_matrix_moves(body: str) -> None:
    order = [3, 0, 5, 1, 4, 2]
    model = text_model(body, x="float[1,6,3] x", y="float[1,6,3] m", init={"w": np.eye(6, dtype=np.float32)[order]})
    np.testing.assert_allclose(coordinate(coordinates_of(model), 1)[0, :, 0], np.array(order) + 0.5)


ATTENTION = """q = MatMul(x, a)
    k = MatMul(x, b)
    t = Transpose<perm=[0, 2, 1]>(k)
    s = MatMul(q, t)
    d = Mul(s, scale)
    p = Softmax(d)
    v = MatMul(x, c)
    """


def attention(end: str) -> np.ndarray:
    init = {"a": weights(3, 3), "b": weights(3, 3), "c": weights(3, 3), "scale": np.float32(0.5), "l": weights(1, 4, 3)}
    model = text_model(ATTENTION + end, x="float[1,6,3] x", y="float[1,n,3] m", init=init)
    return coordinate(coordinates_of(model), 1)[0, :, 0]


def test_attention_looks_where_its_queries_look() -> None:
    np.testing.assert_array_equal(attention("m = MatMul(p, v)"), np.arange(6) + 0.5)


def test_attention_of_two_keys_does_not_look_between_them() -> None:
    """In a small window the mean over the keys lies within a step: that is no place of its own."""
    init = {"w": weights(3, 3)}
    model = text_model(
        """r = Reshape(x, pairs)
        t = Transpose<perm=[0, 1, 3, 2]>(r)
        s = MatMul(r, t)
        p = Softmax(s)
        o = MatMul(p, r)
        m = Reshape(o, back)""",
        x="float[1,6,3] x",
        y="float[1,6,3] m",
        init=init | {"pairs": ints(1, 3, 2, 3), "back": ints(1, 6, 3)},
    )
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 1)[0, :, 0], np.arange(6) + 0.5)


def test_latent_queries_have_no_place() -> None:
    found = attention("u = MatMul(l, t)\n e = Softmax(u)\n m = MatMul(e, v)")
    assert (found == POOLED).all()


GLOBAL_QUERIES = """g = Reshape(x, strided)
    q = ReduceMean<axes=[2], keepdims=0>(g)
    r = Reshape(x, windows)
    t = Transpose<perm=[0, 1, 3, 2]>(r)
    s = MatMul(q, t)
    p = Softmax(s)
    o = MatMul(p, r)
    b = Reshape(o, back)
    """


@pytest.mark.parametrize(("end", "found"), [("m = Add(x, b)", np.arange(12) + 0.5), ("m = Identity(b)", [MIXED] * 12)])
def test_queries_that_are_the_same_for_every_window_bring_no_place(end: str, found: np.ndarray) -> None:
    """As GCViT's: a small copy of the whole map asks each window, whose position says where its answers look."""
    init = {"strided": ints(1, 4, 3, 3), "windows": ints(1, 3, 4, 3), "back": ints(1, 12, 3)}
    model = text_model(GLOBAL_QUERIES + end, x="float[1,12,3] x", y="float[1,12,3] m", init=init)
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 1)[0, :, 0], found)


def test_matrix_product_with_swapped_axes() -> None:
    model = text_model("m = Gemm<transA=1>(x, w)", x="float[3,6] x", y="float[6,5] m", init={"w": weights(3, 5)})
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 1)[:, 0], np.arange(6) + 0.5)


def test_recurrent_layer_keeps_the_places_of_its_steps() -> None:
    model = text_model(
        "y, h, c = LSTM<hidden_size=2>(x, w, r)\n m = Squeeze(y, one)",
        x="float[6,1,3] x",
        y="float[6,1,2] m",
        init={"w": weights(1, 8, 3), "r": weights(1, 8, 2), "one": ints(1)},
    )
    np.testing.assert_array_equal(coordinate(coordinates_of(model), 0)[:, 0, 0], np.arange(6) + 0.5)


SCORES = "k = Transpose<perm=[0, 2, 1]>(t)\n s = MatMul(t, k)\n p = Softmax<axis=-1>(s)\n"


@pytest.mark.parametrize(
    ("body", "attended"),
    [
        (f"{SCORES} m = MatMul(p, t)", True),
        (f"{SCORES} o = MatMul(p, t)\n d = MatMul(o, w)\n m = Relu(d)", True),
        (f"{SCORES} o = MatMul(p, t)\n m = Add(o, t)", False),
        (f"{SCORES} o = MatMul(p, t)\n m = Concat<axis=2>(o, t)", False),
        ("k = Transpose<perm=[0, 2, 1]>(t)\n v = MatMul(k, t)\n m = MatMul(t, v)", False),
        ("m = MatMul(t, w)", False),
    ],
    ids=["by itself", "through a layer", "beside a skip", "beside its channels", "linear", "a layer"],
)
def test_places_of_an_attentions_queries_are_told_from_those_that_a_map_keeps(body: str, attended: bool) -> None:
    """What a linear attention brings of each token is that token, by a layer that the image makes."""
    tokens = "c = Conv(x, colours)\n r = Reshape(c, flat)\n t = Transpose<perm=[0, 2, 1]>(r)\n"
    init = {"w": weights(3, 3), "colours": weights(3, 2, 1, 1), "flat": ints(1, 3, 6)}
    looks = coordinates_of(text_model(tokens + body, x="float[1,2,6,1] x", y="float[1,6,c] m", init=init))
    assert looks.attended is attended
    np.testing.assert_array_equal(coordinate(looks, 2)[0, :, 0], np.arange(6) + 0.5)


#: A matrix over the tokens that the image makes of nothing but its mean, beside a skip connection.
BY_THE_IMAGE = "g = ReduceMean<axes=[1, 2], keepdims=1>(t)\n e = Mul(g, turned)\n a = Add(e, straight)\n"


@pytest.mark.parametrize(
    ("body", "weighed"),
    [
        (f"{BY_THE_IMAGE} o = MatMul(a, t)\n m = Add(o, t)", True),
        (f"{BY_THE_IMAGE} o = MatMul(a, t)\n j = Add(o, t)\n d = MatMul(j, w)\n m = Relu(d)", True),
        ("o = MatMul(straight, t)\n m = Add(o, t)", False),
        (f"{SCORES} o = MatMul(p, t)\n m = Add(o, t)", False),
        ("k = Transpose<perm=[0, 2, 1]>(t)\n v = MatMul(k, t)\n o = MatMul(t, v)\n m = Add(o, t)", False),
        ("g = ReduceMean<axes=[1, 2], keepdims=1>(t)\n v = Mul(g, w)\n o = MatMul(t, v)\n m = Add(o, t)", False),
    ],
    ids=["beside a skip", "through a layer", "a constant", "an attention", "linear", "over channels"],
)
def test_what_a_matrix_of_the_image_weighs_is_held_against_stripes_beside_a_skip_too(body: str, weighed: bool) -> None:
    """It may turn the tokens of a bright image, and weigh them more than the skip connection does."""
    tokens = "c = Conv(x, colours)\n r = Reshape(c, flat)\n t = Transpose<perm=[0, 2, 1]>(r)\n"
    init = {"w": weights(3, 3), "colours": weights(3, 2, 1, 1), "flat": ints(1, 3, 6)}
    init |= {"straight": np.eye(6, dtype=np.float32), "turned": np.eye(6, dtype=np.float32)[::-1].copy()}
    looks = coordinates_of(text_model(tokens + body, x="float[1,2,6,1] x", y="float[1,6,c] m", init=init))
    assert (looks.weighed, looks.attended) == (weighed, weighed)
    np.testing.assert_array_equal(coordinate(looks, 2)[0, :, 0], np.arange(6) + 0.5)
