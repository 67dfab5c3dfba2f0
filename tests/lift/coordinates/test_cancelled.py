"""Differences in which a map cancels: what is left looks where it looks, and no skip connection keeps the map."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.lift.coordinates.fields import CONFLICT, NONE
from onnx_gapmil.rewriting.proof.place_proof import NOT_SHOWN
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import coordinate, coordinates_of, text_model, weights


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


INIT = {
    "back": np.eye(6, dtype=np.float32)[::-1].copy(),
    "half": np.float32(0.5),
    "two": np.float32(2),
    "minus": np.float32(-1),
    "flat": ints(1, 3, 6),
    "wide": ints(1, 3, 2, 3),
}
TOKENS = "t = Transpose<perm=[0, 2, 1]>(x)\n k = Transpose<perm=[0, 2, 1]>(t)\n s = MatMul(t, k)\n"
ATTENTION = f"{TOKENS} p = Softmax<axis=-1>(s)\n a = MatMul(p, t)\n"


@pytest.mark.parametrize(
    ("body", "attended"),
    [
        ("b = Add(t, a)\n m = Add(t, b)", False),
        ("b = Add(t, a)\n m = Sub(t, b)", True),
        ("b = Add(t, a)\n m = Sub(b, t)", True),
        ("b = Sum(a, t)\n n = Neg(t)\n i = Identity(n)\n m = Add(b, i)", True),
        ("h = Mul(t, two)\n b = Add(a, h)\n c = Sub(b, t)\n m = Sub(c, t)", True),
        ("h = Mul(minus, t)\n b = Add(a, t)\n m = Add(b, h)", True),
        ("h = Div(t, half)\n b = Add(a, t)\n c = Sub(b, h)\n m = Add(c, t)", True),
        ("b = Add(t, a)\n u = Transpose<perm=[0, 2, 1]>(b)\n d = Sub(u, x)\n m = Transpose<perm=[0, 2, 1]>(d)", True),
        ("h = Mul(t, half)\n b = Add(a, t)\n m = Sub(b, h)", False),
        ("b = Add(t, a)\n r = Relu(t)\n m = Sub(b, r)", False),
        ("b = Add(t, a)\n u = Reshape(b, flat)\n d = Sub(u, x)\n m = Transpose<perm=[0, 2, 1]>(d)", False),
    ],
    ids=[
        "added twice",
        "taken from the map",
        "the map taken away",
        "its negative added",
        "added twice and taken away twice",
        "times minus one",
        "divided",
        "beside a transposition",
        "half of it is left",
        "another map",
        "moved to other places",
    ],
)
def test_a_skip_connection_that_cancels_keeps_nothing(body: str, attended: bool) -> None:
    looks = coordinates_of(text_model(ATTENTION + body, x="float[1,3,6] x", y="float[1,6,3] m", init=INIT))
    assert looks.attended is attended


def test_what_is_left_looks_where_it_looks() -> None:
    """In reverse order, which beside the map was a conflict."""
    body = "r = MatMul(x, back)\n b = Add(x, r)\n"
    kept, left = (
        coordinate(coordinates_of(text_model(body + rest, x="float[1,3,6] x", y="float[1,3,6] m", init=INIT)), 2)
        for rest in ("m = Identity(b)", "m = Sub(b, x)")
    )
    assert (kept == CONFLICT).all()
    np.testing.assert_array_equal(left[0, 0], 5.5 - np.arange(6))


def test_what_is_left_is_moved_as_the_sum_was() -> None:
    body = "r = MatMul(x, back)\n b = Add(r, x)\n u = Reshape(b, wide)\n v = Reshape(x, wide)\n m = Sub(v, u)"
    looks = coordinates_of(text_model(body, x="float[1,3,6] x", y="float[1,3,2,3] m", init=INIT))
    np.testing.assert_array_equal(coordinate(looks, 2)[0, 0], [[5.5, 4.5, 3.5], [2.5, 1.5, 0.5]])


def test_a_map_from_which_itself_is_taken_looks_nowhere() -> None:
    looks = coordinates_of(text_model("b = Add(x, x)\n c = Sub(b, x)\n m = Sub(c, x)", x="float[1,3,6] x",
                                      y="float[1,3,6] m"))  # fmt: skip
    assert not looks.has_places
    assert all((found.values == NONE).all() for found in looks.views[0].values())


def test_a_sum_of_other_shapes_cancels_only_where_it_is_added() -> None:
    """One row that is added to all of them, and taken away again."""
    body = "r = ReduceMean<axes=[2]>(x)\n b = Add(x, r)\n m = Sub(b, r)"
    looks = coordinates_of(text_model(body, x="float[1,3,6] x", y="float[1,3,6] m"))
    np.testing.assert_array_equal(coordinate(looks, 2)[0, 0], np.arange(6) + 0.5)


def test_an_attention_whose_skip_cancels_is_held_against_stripes_as_one_without() -> None:
    """Its keys choose what each cell holds: stripes of one image happened to agree with the map that had cancelled."""
    init = {"k": weights(8, 3, 4, 4), "rows": ints(0, 8, 48), "w": weights(5, 8)}
    init |= {name: weights(8, 8, seed=seed) for seed, name in enumerate(("q", "l", "v"))}
    body = (
        "c = Conv<strides=[4,4]>(x, k)\n h = Tanh(c)\n f = Reshape(h, rows)\n t = Transpose<perm=[0,2,1]>(f)\n"
        " a = MatMul(t, q)\n b = MatMul(t, l)\n e = Transpose<perm=[0,2,1]>(b)\n s = MatMul(a, e)\n"
        " p = Softmax<axis=-1>(s)\n u = MatMul(t, v)\n o = MatMul(p, u)\n j = Add(t, o)\n {}\n"
        " g = ReduceMean<axes=[1],keepdims=0>(d)\n y = Gemm<transB=1>(g, w)"
    )
    kept, left = (
        rewrite(text_model(body.format(last), x="float[N,3,24,32] x", init=init), write=False).heads[0].places
        for last in ("d = Add(t, j)", "d = Sub(t, j)")
    )
    assert kept.known
    assert not left.known
    assert left.reason == NOT_SHOWN
