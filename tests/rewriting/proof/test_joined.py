"""Maps that were joined of several: each must look where all are said to, however few or small its channels are."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_gapmil.rewriting.proof.joined import joined_channels
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.stripes import FLIPS, KERNEL, PATCHES, check
from tests.helpers.support import text_model, weights

#: A second map, of small numbers, in another order.
TURNED = {
    "mirrored": "t = Slice(s, last, end, axis, back)",
    "transposed": "t = Transpose<perm=[0,1,3,2]>(s)",
    "rolled": "one, two = Split<axis=3>(s, parts)\n t = Concat<axis=3>(two, one)",
}
#: Such as say nothing of places: as they are, from few cells, the same everywhere, the same for all images.
PLAIN = {
    "as it is": "t = Identity(s)",
    "coarse": 'q = AveragePool<kernel_shape=[4,4], strides=[4,4]>(s)\n t = Resize<mode="nearest">(q, , four)',
    "everywhere": "q = GlobalAveragePool(s)\n n = Shape(s)\n t = Expand(q, n)",
    "constant": "z = Mul(s, none)\n t = Add(z, ramp)",
}
INIT = {
    "small": np.float32(0.02),
    "parts": np.array([2, 6]),
    "four": np.array([1, 1, 4, 4], np.float32),
    "none": np.float32(0),
    "ramp": np.arange(8, dtype=np.float32),
    **FLIPS,
}


@pytest.mark.parametrize("turn", TURNED)
def test_a_small_map_in_another_order_is_shown(turn: str) -> None:
    body = f"{PATCHES}\n s = Mul(a, small)\n {TURNED[turn]}\n y = Concat<axis=1>(a, t)"
    assert check(body, y="float[N,12,H,W] y", **INIT).passed is True  # all channels alike do not say so
    assert check(body, y="float[N,12,H,W] y", joined=(6, 6), **INIT).passed is False


@pytest.mark.parametrize("kind", PLAIN)
def test_maps_that_are_not_in_another_order_pass(kind: str) -> None:
    body = f"{PATCHES}\n s = Mul(a, small)\n {PLAIN[kind]}\n y = Concat<axis=1>(a, t)"
    assert check(body, y="float[N,12,H,W] y", joined=(6, 6), **INIT).passed is True


#: Nothing that is traced stands against it: a layer over all positions is before the second map.
HIDDEN = (
    "d = Conv<strides=[4,4]>(x, k)\n q = Reshape(d, flat)\n r = MatMul(q, mixing)\n v = Reshape(r, whole)\n"
    " s = Mul(v, small)\n"
)
JOINS = {
    "maps": "m = Concat<axis=1>(a, t)\n b = Relu(m)\n p = GlobalAveragePool(b)\n f = Flatten(p)\n"
    " y = Gemm<transB=1>(f, w)",
    "pooled": "p = GlobalAveragePool(a)\n b = Relu(t)\n o = GlobalAveragePool(b)\n m = Concat<axis=1>(p, o)\n"
    " f = Flatten(m)\n y = Gemm<transB=1>(f, w)",
}


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize(("turn", "known"), [*((name, False) for name in TURNED), ("as it is", True)])
def test_maps_and_pools_that_are_joined_are_looked_at_one_by_one(join: str, turn: str, known: bool) -> None:
    body = f"{PATCHES}\n {HIDDEN} {(TURNED | PLAIN)[turn]}\n {JOINS[join]}"
    mixing = np.eye(64) + 0.02 * weights(64, 64)
    init = INIT | KERNEL | {"flat": np.array([0, 6, 64]), "whole": np.array([0, 6, 8, 8]), "w": weights(5, 12)}
    model = text_model(body, x="float[N,3,32,32] x", init=init | {"mixing": mixing.astype(np.float32)})
    assert rewrite(model, write=False).heads[0].places.known is known


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ("m = Concat<axis=1>(a, a, n)\n", (6, 6, 3)),
        (
            "q = Concat<axis=1>(a, a, n)\n z = BatchNormalization(q, s, s, s, s)\n b = Mul(z, s4)\n m = Relu(b)\n",
            (6, 6, 3),
        ),
        ("m = Concat<axis=1>(a, a)\n q = Transpose<perm=[0,2,1,3]>(m)\n", (6, 6)),
        ("m = Relu(a)\n", ()),
        (f"m = Concat<axis=1>({', '.join(['n'] * 20)})\n", (3,) * 12 + (6,) * 4),
    ],
    ids=["at once", "behind pointwise operators", "and something else", "one map", "many"],
)
def test_the_channels_of_a_map_are_told_by_what_it_was_joined_of(body: str, counts: tuple[int, ...]) -> None:
    total = sum(counts) or 6
    text = f"{PATCHES}\n n = Slice(a, none, three, one)\n {body} p = GlobalAveragePool(m)\n f = Flatten(p)"
    init = {"none": np.array([0]), "three": np.array([3]), "one": np.array([1]), "w": weights(5, total)}
    init |= {"s": np.ones(15, np.float32), "s4": np.ones((1, 15, 1, 1), np.float32)}
    model = text_model(f"{text}\n y = Gemm<transB=1>(f, w)", x="float[N,3,32,32] x", init=KERNEL | init)
    made = rewrite_model(model)
    assert made.trace is not None
    found = joined_channels(made.model, made.heads[0].feature_grids, made.trace)
    assert sorted(found) == sorted(counts)
