"""Weighted pools: sums over positions by learned weights, or by an attention that the image decides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.support import (
    Head,
    assert_close,
    assert_in_reading_order,
    assert_mean_is_logits,
    chain,
    check_refused,
    dense,
    frozen,
    images,
    lift,
    pooled,
    rng,
    run,
    text_model,
    weights,
)

C, T = 6, 15
CONV = weights(6, 6, 1, 1)
W, B = weights(5, 6), weights(5)
GEMM = "y = Gemm<transB=1>(f, w, b)"
MAP = "k = Conv(x, c)\n r = Reshape(k, flat)\n"
TOKENS = f"{MAP} t = Transpose<perm=[0, 2, 1]>(r)\n"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


BASE = {"c": CONV, "w": W, "b": B, "flat": ints(0, 6, -1), "zero": ints(0), "one": ints(1), "two": ints(2)}


def model_of(body: str, *, batch: str = "N", size: tuple[int, int] = (3, 5), **init: Any) -> onnx.ModelProto:
    x = f"float[{batch},6,{size[0]},{size[1]}] x"
    return text_model(f"{body}\n {GEMM}", x=x, y=f"float[{batch},5] y", init=BASE | init)


def trunk(x: np.ndarray) -> np.ndarray:
    return dense(CONV[:, :, 0, 0])(x.astype(np.float64))


def weighed(share: np.ndarray) -> Head:
    """``T * w * A``; the shares as (N or 1, 1, H, W)."""
    return lambda cells: cells * share * cells.shape[2] * cells.shape[3]


def softmax(scores: np.ndarray, axis: int) -> np.ndarray:
    power = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return power / power.sum(axis=axis, keepdims=True)


# --- learned weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["N", "1", "2"])
@pytest.mark.parametrize(
    ("body", "shape"),
    [
        pytest.param(f"{MAP} q = MatMul(r, v)\n f = Flatten(q)", (T, 1), id="map_times_column"),
        pytest.param(f"{MAP} f = MatMul(r, v)", (T,), id="map_times_vector"),
        pytest.param(f"{TOKENS} q = MatMul(v, t)\n f = Squeeze(q, one)", (1, T), id="row_times_tokens"),
        pytest.param(f"{TOKENS} f = MatMul(v, t)", (T,), id="vector_times_tokens"),
        pytest.param(f"{TOKENS} q = MatMul(v, t)\n f = Flatten(q)", (1, 1, T), id="stack_of_one_row"),
    ],
)
def test_learned_weights_over_positions(body: str, shape: tuple[int, ...], batch: str) -> None:
    weight = weights(*shape)
    model = model_of(body, batch=batch, v=weight)
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    assert_close(found.features, trunk(x))
    assert_close(found.grid, chain(weighed(weight.reshape(1, 1, 3, 5)), dense(W, B))(trunk(x)))


def test_two_sums_side_by_side() -> None:
    weight, last = weights(T, 2), weights(5, 12)
    model = model_of(f"{MAP} q = MatMul(r, v)\n f = Flatten(q)", v=weight, w=last)
    x = images(model)
    maps = [trunk(x) * weight[:, index].reshape(3, 5) * 15 for index in range(2)]
    joined = np.stack(maps, axis=2).reshape(len(x), 12, 3, 5)  # the vector is (C, 2), channels first
    found = lift(model, x)
    assert_mean_is_logits(found)
    assert_close(found.grid, dense(last, B)(joined))


def test_weights_for_each_group_of_channels() -> None:
    weight = weights(2, 1, T)
    body = (
        "k = Conv(x, c)\n r = Reshape(k, s)\n t = Transpose<perm=[0, 1, 3, 2]>(r)\n q = MatMul(v, t)\n f = Flatten(q)"
    )
    model = model_of(body, v=weight, s=ints(0, 2, 3, T))
    x = images(model)
    share = np.repeat(weight, 3, axis=0).reshape(1, 6, 3, 5)
    assert_close(lift(model, x).grid, chain(weighed(share), dense(W, B))(trunk(x)))


@pytest.mark.parametrize("axes", ["channels_first", "channels_last"])
def test_map_times_learned_map_then_sum(axes: str) -> None:
    weight = weights(1, 1, 3, 5)
    first = axes == "channels_first"
    turn = "m = Identity(k)" if first else "m = Transpose<perm=[0, 2, 3, 1]>(k)"
    model = model_of(
        f"k = Conv(x, c)\n {turn}\n q = Mul(m, v)\n f = ReduceSum<keepdims=0>(q, space)",
        v=weight if first else weight.reshape(1, 3, 5, 1),
        space=ints(2, 3) if first else ints(1, 2),
    )
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_mean_is_logits(found)
    assert_close(found.features, trunk(x))
    assert_close(found.grid, chain(weighed(weight), dense(W, B))(trunk(x)))
    (head,) = found.rewrite.heads
    assert head.position_dependent
    said = head.chain[0].weights
    assert said is not None
    np.testing.assert_allclose([said.least, *said.sums], [weight.min() * 15, weight.sum()], rtol=1e-5)
    assert said.below_zero == (weight < 0).mean()


@pytest.mark.parametrize("turned", [False, True])
def test_as_many_channels_as_positions(turned: bool) -> None:
    """6 channels, 2x3 positions: only the layout tells which are summed."""
    weight = weights(6)
    body = f"{TOKENS} f = MatMul(v, t)" if turned else f"{MAP} f = MatMul(r, v)"
    model = model_of(body, size=(2, 3), v=weight)
    x = images(model)
    assert_close(lift(model, x).grid, chain(weighed(weight.reshape(1, 1, 2, 3)), dense(W, B))(trunk(x)))


@pytest.mark.parametrize("turned", [False, True])
def test_product_over_the_channels_of_as_many_positions_is_no_pool(turned: bool) -> None:
    body = f"{MAP} f = MatMul(v, r)" if turned else f"{TOKENS} f = MatMul(t, v)"
    model = model_of(body, size=(2, 3), v=weights(6))
    check_refused(model, "no-spatial-pool", "'k'")


# --- attention -----------------------------------------------------------------------------------------------------

SCORES = f"{TOKENS} h = MatMul(t, v1)\n th = Tanh(h)\n sc = MatMul(th, v2)\n"
GATED = (
    f"{TOKENS} h = MatMul(t, v1)\n th = Tanh(h)\n u = MatMul(t, v3)\n sg = Sigmoid(u)\n g = Mul(th, sg)\n"
    " sc = MatMul(g, v2)\n"
)
V1, V2, V3 = weights(6, 4), weights(4, 1), weights(6, 4, seed=9)


def mil(x: np.ndarray, *, gated: bool) -> np.ndarray:
    """Attention of multiple-instance learning (arXiv 1802.04712), as (N, 1, H, W)."""
    t = trunk(x).reshape(len(x), C, -1).transpose(0, 2, 1)
    h = np.tanh(t @ V1)
    if gated:
        h = h / (1 + np.exp(-(t @ V3)))
    return softmax(h @ V2, 1).reshape(len(x), 1, *x.shape[2:])


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("s = Transpose<perm=[0, 2, 1]>(sc)\n a = Softmax<axis=2>(s)\n q = MatMul(a, t)\n"
                     " f = Squeeze(q, one)",
                     id="weights_times_tokens"),
        pytest.param("a = Softmax<axis=1>(sc)\n q = MatMul(r, a)\n f = Squeeze(q, two)", id="map_times_weights"),
        pytest.param("a = Softmax<axis=1>(sc)\n q = Mul(t, a)\n"
                     " f = ReduceSum<keepdims=0>(q, one)", id="product_and_sum"),
        pytest.param("a = Softmax<axis=1>(sc)\n q = Mul(a, t)\n"
                     " f = ReduceSum<keepdims=0>(q, one)", id="turned_product"),
        pytest.param("e = Exp(sc)\n n = ReduceSum(e, one)\n a = Div(e, n)\n q = Mul(t, a)\n"
                     " f = ReduceSum<keepdims=0>(q, one)", id="softmax_spelled_out"),
        pytest.param("e = Exp(sc)\n d = Identity(e)\n n = ReduceSum(d, one)\n m = Identity(n)\n a = Div(e, m)\n"
                     " q = Mul(t, a)\n f = ReduceSum<keepdims=0>(q, one)", id="identities_between"),
        pytest.param("e = Exp(sc)\n n = ReduceSum(e, one)\n a = Div(e, n)\n s = Transpose<perm=[0, 2, 1]>(a)\n"
                     " q = MatMul(s, t)\n f = Squeeze(q, one)", id="softmax_spelled_out_and_product"),
        pytest.param("e = Exp(sc)\n n = ReduceSum<keepdims=0>(e, one)\n q = Mul(t, e)\n"
                     " m = ReduceSum<keepdims=0>(q, one)\n f = Div(m, n)", id="divided_after_the_sum"),
    ],
)  # fmt: skip
def test_attention_of_multiple_instance_learning(body: str, gated: bool) -> None:
    model = model_of((GATED if gated else SCORES) + body, v1=V1, v2=V2, v3=V3)
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, chain(weighed(mil(x, gated=gated)), dense(W, B))(trunk(x)), 3e-5)


def heads_of(array: np.ndarray, heads: int) -> np.ndarray:
    """(N, T, C) to (N, heads, T, C / heads)."""
    batch, count, channels = array.shape
    return array.reshape(batch, count, heads, channels // heads).transpose(0, 2, 1, 3)


def attention_pool(heads: int, *, query: str, prefix: str) -> tuple[str, dict[str, np.ndarray]]:
    """The statements of an attention pool over tokens ``t`` that makes ``f`` (N, C)."""
    size = C // heads
    lines = ["sh = Shape(t)", "n0 = Gather(sh, zero)", "es = Concat<axis=0>(n0, tail)"]
    if prefix == "mean":
        lines += ["m = ReduceMean<axes=[1], keepdims=1>(t)", "u0 = Concat<axis=1>(m, t)", "u = Add(u0, pos)"]
    elif prefix == "learned":
        lines += ["m = Expand(cls, es)", "u = Concat<axis=1>(m, t)"]
    else:
        lines += ["m = ReduceMean<axes=[1], keepdims=1>(t)", "u = Identity(t)"]
    lines.append(
        {"first": "q0 = Gather<axis=1>(u, zero)", "mean": "q0 = Identity(m)", "learned": "q0 = Expand(lat, es)"}[query]
    )
    for name, data in (("q", "q0"), ("k", "u"), ("v", "u")):
        lines += [
            f"{name}1 = MatMul({data}, w{name})",
            f"{name}2 = Add({name}1, b{name})",
            f"{name}3 = Reshape({name}2, split)",
            f"{name}4 = Transpose<perm=[0, {'2, 3, 1' if name == 'k' else '2, 1, 3'}]>({name}3)",
        ]
    lines += [
        "sc = MatMul(q4, k4)", "ss = Mul(sc, root)", "a = Softmax<axis=3>(ss)", "o = MatMul(a, v4)",
        "o1 = Transpose<perm=[0, 2, 1, 3]>(o)", "o2 = Reshape(o1, merged)", "o3 = MatMul(o2, wo)", "f = Add(o3, bo)",
    ]  # fmt: skip
    init = {
        "pos": weights(T + 1, C, seed=1), "cls": weights(1, 1, C, seed=2), "lat": weights(1, 1, C, seed=3),
        "split": ints(0, -1, heads, size), "merged": ints(0, C), "tail": ints(1, C), "root": np.float32(size**-0.5),
        **{f"w{name}": weights(C, C, seed=20 + place) for place, name in enumerate("qkvo")},
        **{f"b{name}": weights(C, seed=30 + place) for place, name in enumerate("qkvo")},
    }  # fmt: skip
    return TOKENS + "\n ".join(lines), init


def attention_grid(x: np.ndarray, init: dict[str, np.ndarray], heads: int, *, query: str, prefix: str) -> np.ndarray:
    """The lift of that pool, (N, C, H, W), by its definition; the leading token is spread evenly."""
    t = trunk(x).reshape(len(x), C, -1).transpose(0, 2, 1)
    u = t
    if prefix == "mean":
        u = np.concatenate([t.mean(axis=1, keepdims=True), t], axis=1) + init["pos"]
    elif prefix == "learned":
        u = np.concatenate([np.repeat(init["cls"], len(x), axis=0), t], axis=1)
    q0 = {"first": u[:, :1], "mean": t.mean(axis=1, keepdims=True), "learned": np.repeat(init["lat"], len(x), axis=0)}
    q = heads_of(q0[query] @ init["wq"] + init["bq"], heads)
    k, v = (heads_of(u @ init[f"w{name}"] + init[f"b{name}"], heads) for name in "kv")
    a = softmax(q @ k.transpose(0, 1, 3, 2) * init["root"], 3)
    parts = a.transpose(0, 1, 3, 2) * v  # (N, heads, tokens, size)
    skip = u.shape[1] - T
    cells = parts[:, :, skip:] * T + parts[:, :, :skip].sum(axis=2, keepdims=True)
    cells = cells.transpose(0, 1, 3, 2).reshape(len(x), C, *x.shape[2:])
    return dense(init["wo"].T, init["bo"])(cells)


@pytest.mark.parametrize("heads", [1, 2, 6])
@pytest.mark.parametrize(
    ("query", "prefix"),
    [
        pytest.param("first", "mean", id="clip_attention_pool"),
        pytest.param("mean", "none", id="mean_query"),
        pytest.param("learned", "none", id="latent_query"),
        pytest.param("learned", "learned", id="latent_query_and_learned_token"),
    ],
)
def test_attention_pool(query: str, prefix: str, heads: int) -> None:
    body, init = attention_pool(heads, query=query, prefix=prefix)
    model = model_of(body, **init)
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert found.grid.shape == (3, 5, 3, 5)
    assert_mean_is_logits(found)
    cells = attention_grid(x, init, heads, query=query, prefix=prefix)
    assert_close(found.grid, dense(W, B)(cells), 3e-5)


@pytest.mark.parametrize("batch", ["1", "2"])
def test_attention_pool_of_a_fixed_batch(batch: str) -> None:
    body, init = attention_pool(2, query="learned", prefix="none")
    model = model_of(body, batch=batch, **init)
    x = images(model)
    cells = attention_grid(x, init, 2, query="learned", prefix="none")
    assert_close(lift(model, x).grid, dense(W, B)(cells), 3e-5)


def gelu(z: np.ndarray) -> np.ndarray:
    return z * 0.5 * (1 + np.vectorize(math.erf)(z / np.sqrt(2)))


def layer_norm(scale: np.ndarray, bias: np.ndarray) -> Head:
    def apply(cells: np.ndarray) -> np.ndarray:
        t = pooled(cells)
        deviation = np.sqrt(t.var(axis=1, keepdims=True) + 1e-5)
        centred = (cells - cells.mean(axis=1, keepdims=True)) / deviation
        return centred * scale[:, None, None] + bias[:, None, None]

    return apply


def test_attention_head_with_a_residual_perceptron() -> None:
    """SigLIP's: latent query, attention, projection, then ``a + MLP(LayerNorm(a))``."""
    body, init = attention_pool(2, query="learned", prefix="none")
    body = body.replace("f = Add(o3, bo)", "z = Add(o3, bo)")
    up, down = weights(12, 6), weights(6, 12)
    scale, shift = weights(6, seed=4), weights(6, seed=5)
    body += (
        "\n l = LayerNormalization(z, ls, lb)\n m1 = Gemm<transB=1>(l, up)\n e0 = Mul(m1, half)\n e1 = Erf(e0)\n"
        " e2 = Add(e1, unit)\n e3 = Mul(m1, e2)\n e4 = Mul(e3, h)\n m2 = Gemm<transB=1>(e4, down)\n f = Add(z, m2)"
    )
    extra = {
        "ls": scale,
        "lb": shift,
        "up": up,
        "down": down,
        "half": np.float32(0.5**0.5),
        "unit": np.float32(1),
        "h": np.float32(0.5),
    }
    model = model_of(body, **init, **extra)
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    z = attention_grid(x, init, 2, query="learned", prefix="none")
    hidden = chain(layer_norm(scale, shift), dense(up))(z)
    t = pooled(hidden)
    mixed = dense(down)(hidden * gelu(t) / t)
    assert_close(found.grid, dense(W, B)(z + mixed), 1e-4)


# --- log-sum-exp ---------------------------------------------------------------------------------------------------


def test_log_sum_exp_shares_by_size() -> None:
    model = model_of("k = Conv(x, c)\n f = ReduceLogSumExp<axes=[2, 3], keepdims=0>(k)")
    x = images(model)
    cells = trunk(x)
    total = np.log(np.exp(cells).sum(axis=(2, 3), keepdims=True))
    expected = dense(W, B)(15 * np.exp(cells - total) * total)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    assert_close(found.grid, expected)


def test_log_sum_exp_spelled_out() -> None:
    model = model_of("k = Conv(x, c)\n e = Exp(k)\n m = ReduceMean<axes=[2, 3], keepdims=0>(e)\n f = Log(m)")
    x = images(model)
    found = lift(model, x)
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    power = np.exp(trunk(x))
    assert_close(found.grid, chain(frozen(np.log, anchor=1.0), dense(W, B))(power), 3e-5)


# --- what is no such pool ------------------------------------------------------------------------------------------

MIXED = (
    " qa = MatMul({t}, q1)\n ka = MatMul({t}, q2)\n va = MatMul({t}, q3)\n ta = Transpose<perm=[0, 2, 1]>(ka)\n"
    " sa = MatMul(qa, ta)\n aa = Softmax<axis=2>(sa)\n oa = MatMul(aa, va)\n"
)
MIX = {f"q{place}": weights(6, 6, seed=place) for place in (1, 2, 3)}
CLASS = (
    f"{TOKENS} sh = Shape(t)\n n0 = Gather(sh, zero)\n es = Concat<axis=0>(n0, tail)\n ce = Expand(cls, es)\n"
    " u = Concat<axis=1>(ce, t)\n"
)
CLASS_INIT = {"cls": weights(1, 1, 6), "tail": ints(1, 6)} | MIX


@pytest.mark.parametrize("size", [(3, 5), (2, 2)])
@pytest.mark.parametrize("projected", [False, True])
def test_self_attention_of_the_trunk_is_not_taken_for_a_pool(size: tuple[int, int], projected: bool) -> None:
    """As many queries as positions: the mean over its tokens is the pool, and they are the cells."""
    body = f"{TOKENS} {MIXED.format(t='t')}" + (" o = MatMul(oa, q1)\n" if projected else " o = Identity(oa)\n")
    model = model_of(f"{body} f = ReduceMean<axes=[1], keepdims=0>(o)", size=size, **MIX)
    x = images(model)
    t = trunk(x).reshape(len(x), C, -1).transpose(0, 2, 1)
    o = softmax((t @ MIX["q1"]) @ (t @ MIX["q2"]).transpose(0, 2, 1), 2) @ (t @ MIX["q3"])
    o = o @ MIX["q1"] if projected else o
    found = lift(model, x)
    assert found.verdict == "exact"
    assert_close(found.grid, dense(W, B)(o.transpose(0, 2, 1).reshape(len(x), C, *size)), 1e-4)


@pytest.mark.parametrize("size", [(3, 5), (2, 2)])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(MIXED.format(t="u") + " g = Gather<axis=1>(oa, zero)\n"
                     " f = Squeeze(g, one)", id="chosen_after_attention"),
        pytest.param(MIXED.format(t="u") + " s = Add(u, oa)\n g = Gather<axis=1>(s, zero)\n f = Squeeze(g, one)",
                     id="chosen_after_a_residual"),
        pytest.param(MIXED.format(t="u") + " s = Add(u, oa)\n g = Gather<axis=1>(s, zero)\n qb = MatMul(g, q1)\n"
                     " kb = MatMul(s, q2)\n vb = MatMul(s, q3)\n tb = Transpose<perm=[0, 2, 1]>(kb)\n"
                     " sb = MatMul(qb, tb)\n"
                     " ab = Softmax<axis=2>(sb)\n ob = MatMul(ab, vb)\n f = Squeeze(ob, one)",
                     id="chosen_as_the_query_of_a_second_layer"),
        pytest.param(MIXED.format(t="u") + " s = Add(u, oa)\n g = Gather<axis=1>(s, zero)\n qb = MatMul(g, q1)\n"
                     " kb = MatMul(s, q2)\n vb = MatMul(s, q3)\n tb = Transpose<perm=[0, 2, 1]>(kb)\n"
                     " sb = MatMul(qb, tb)\n"
                     " ab = Softmax<axis=2>(sb)\n ob = MatMul(ab, vb)\n ub = Add(ob, g)\n f = Squeeze(ub, one)",
                     id="chosen_as_the_query_of_a_second_layer_with_a_residual"),
    ],
)  # fmt: skip
def test_class_token_stays_refused(body: str, size: tuple[int, int]) -> None:
    check_refused(model_of(CLASS + body, size=size, **CLASS_INIT), "class-token")


@pytest.mark.parametrize(
    ("body", "extra", "code"),
    [
        pytest.param("a = Softmax<axis=2>(z)\n"
                     " q = MatMul(a, t)", "float[N,1,15] z", "side-input", id="weights_from_an_input"),
        pytest.param("n = RandomUniformLike(t)\n l = MatMul(n, v1)\n s = Transpose<perm=[0, 2, 1]>(l)\n"
                     " a = Softmax<axis=2>(s)\n q = MatMul(a, t)", "", "random-head", id="random_weights"),
        pytest.param("l = MatMul(t, v1)\n s = Transpose<perm=[0, 2, 1]>(l)\n q = MatMul(s, t)", "", "unknown-operator",
                     id="weights_that_are_no_attention"),
        pytest.param("t0 = Gather<axis=0>(t, first)\n l = MatMul(t0, v1)\n s = Transpose<perm=[0, 2, 1]>(l)\n"
                     " a = Softmax<axis=2>(s)\n q = MatMul(a, t)", "", "spatial-mixing-after-pool",
                     id="weights_of_another_image"),
        pytest.param("t0 = ReduceMean<axes=[0]>(t)\n l = MatMul(t0, v1)\n s = Transpose<perm=[0, 2, 1]>(l)\n"
                     " a = Softmax<axis=2>(s)\n q = MatMul(a, t)", "", "spatial-mixing-after-pool",
                     id="weights_of_all_images"),
        pytest.param("t0 = Gather<axis=0>(t, first)\n l = MatMul(t0, v1)\n a = Softmax<axis=1>(l)\n p = Mul(t, a)\n"
                     " q = ReduceSum(p, one)", "", "spatial-mixing-after-pool", id="a_factor_of_another_image"),
    ],
)  # fmt: skip
def test_weights_that_are_no_attention_of_the_image(body: str, extra: str, code: str) -> None:
    model = text_model(
        f"{TOKENS} {body}\n f = Squeeze(q, one)\n {GEMM}",
        x="float[N,6,3,5] x" + (f", {extra}" if extra else ""),
        init=BASE | {"v1": weights(6, 1), "first": ints(0)},
    )
    check_refused(model, code, "'q'")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("a = MatMul(k, v)", id="rows_are_left"),
        pytest.param("n = Transpose<perm=[0, 2, 3, 1]>(k)\n a0 = MatMul(u, n)\n a = Transpose<perm=[0, 3, 1, 2]>(a0)",
                     id="rows_are_left_in_nhwc"),
    ],
)  # fmt: skip
def test_sum_over_columns_alone_never_scrambles_rows(body: str) -> None:
    """4x4 cells before a stride, 1x16 columns: positions must not be read as another map's."""
    model = model_of(
        f"k0 = Conv(x, c)\n k1 = Add(k0, x)\n k = Reshape(k1, wide)\n {body}\n"
        " f = ReduceMean<axes=[2, 3], keepdims=0>(a)",
        size=(4, 8), v=weights(16, 1), u=weights(1, 16), wide=ints(0, 6, 2, 16),
    )  # fmt: skip
    if "k, v" in body:
        check_refused(model, "no-spatial-pool")
        return
    assert lift(model, images(model)).grid.shape == (3, 5, 2, 1)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        pytest.param("v, i = TopK(r, kk)\n f = ReduceMean<axes=[2], keepdims=0>(v)", (3, 5), id="four_of_a_map"),
        pytest.param("v, i = TopK(r, kk)\n f0 = Unsqueeze(v, three)\n"
                     " f = ReduceMean<axes=[2, 3], keepdims=0>(f0)", (3, 5),
                     id="four_as_a_map"),
        pytest.param("v, i = TopK<axis=1>(t, kk)\n f = ReduceMean<axes=[1], keepdims=0>(v)", (3, 5), id="four_tokens"),
    ],
)  # fmt: skip
def test_mean_of_the_largest_goes_to_their_positions(body: str, size: tuple[int, int]) -> None:
    model = model_of(TOKENS + body, size=size, kk=ints(4), three=ints(3))
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert_mean_is_logits(found)
    cells = found.features.astype(np.float64)
    kth = np.sort(cells.reshape(3, 6, 15), axis=2)[:, :, -4].reshape(3, 6, 1, 1)
    weight, bias = BASE["w"].astype(np.float64), BASE["b"].astype(np.float64)
    expected = np.einsum("kc,nchw->nkhw", weight, cells * (cells >= kth) * 15 / 4) + bias[:, None, None]
    assert_close(found.grid, expected)


@pytest.mark.parametrize(
    ("body", "x"),
    [
        pytest.param("r0 = Conv(x, c)\n r = Reshape(r0, flat)\n v, i = TopK(r, n15)\n"
                     " f = ReduceMean<axes=[2], keepdims=0>(v)",
                     "float[N,6,3,5] x", id="all_of_them"),
        pytest.param("r0 = Conv(x, c)\n r = Reshape(r0, flat)\n v, i = TopK(r, n4)\n m = Reshape(v, two_by_two)\n"
                     " p = GlobalAveragePool(m)\n f = Flatten(p)", "float[N,6,3,5] x", id="four_as_a_square"),
        pytest.param("v, i = TopK<axis=1>(x, n4)\n f = ReduceMean<axes=[1], keepdims=0>(v)", "float[N,15,6] x",
                     id="of_tokens_that_are_the_input"),
    ],
)  # fmt: skip
def test_mean_of_sorted_positions_has_the_cells_that_were_sorted(body: str, x: str) -> None:
    init = BASE | {"n15": ints(15), "n4": ints(4), "two_by_two": ints(0, 6, 2, 2)}
    model = text_model(f"{body}\n {GEMM}", x=x, init=init)
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert found.grid.shape[2] * found.grid.shape[3] == 15
    assert_mean_is_logits(found)


MOVED = {
    "column_by_column": "k0 = Conv(x, c)\n k1 = Transpose<perm=[0, 1, 3, 2]>(k0)\n r = Reshape(k1, flat)",
    "backwards": "k0 = Conv(x, c)\n r0 = Reshape(k0, flat)\n r = Slice(r0, last, start, two, last)",
    "shuffled": "k0 = Conv(x, c)\n r0 = Reshape(k0, flat)\n r = Gather<axis=2>(r0, order)",
    "shuffled_then_activated": "k0 = Conv(x, c)\n r0 = Reshape(k0, flat)\n"
    " r1 = Gather<axis=2>(r0, order)\n r = Relu(r1)",
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED.keys())
@pytest.mark.parametrize("attends", [False, True])
def test_positions_that_were_moved_before_the_sum_are_put_back(moved: str, attends: bool) -> None:
    body = "t = Transpose<perm=[0, 2, 1]>(r)\n"
    if attends:
        body += " sc = MatMul(t, v2)\n a = Softmax<axis=1>(sc)\n q = MatMul(r, a)\n f = Flatten(q)"
    else:
        body += " f = MatMul(v, t)"
    model = model_of(f"{moved}\n {body}", v=weights(15), v2=weights(6, 1), order=rng(0).permutation(15), last=ints(-1),
                     start=ints(-99))  # fmt: skip
    assert_in_reading_order(model)


# --- at random -----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    kind=st.sampled_from(["learned", "attention", "clip"]),
    turned=st.booleans(),
    batch=st.sampled_from(["N", "1", "2"]),
    heads=st.sampled_from([1, 2, 3]),
)
def test_random_weighted_pool(
    seed: int, size: tuple[int, int], kind: str, turned: bool, batch: str, heads: int
) -> None:
    generator = rng(seed)
    count = size[0] * size[1]
    x = generator.standard_normal((3 if batch == "N" else int(batch), 6, *size)).astype(np.float32)
    if kind == "learned":
        weight = generator.standard_normal(count).astype(np.float32)
        model = model_of(
            f"{TOKENS} f = MatMul(v, t)" if turned else f"{MAP} f = MatMul(r, v)", batch=batch, size=size, v=weight
        )
        expected = chain(weighed(weight.reshape(1, 1, *size)), dense(W, B))(trunk(x))
    elif kind == "attention":
        after = "s = Transpose<perm=[0, 2, 1]>(a)\n q = MatMul(s, t)" if turned else "q = MatMul(r, a)"
        model = model_of(f"{SCORES} a = Softmax<axis=1>(sc)\n {after}\n f = Reshape(q, vec)", batch=batch, size=size,
                         v1=V1, v2=V2, vec=ints(0, 6))  # fmt: skip
        expected = chain(weighed(mil(x, gated=False)), dense(W, B))(trunk(x))
    else:
        body, init = attention_pool(heads, query="mean", prefix="none")
        model = model_of(body, batch=batch, size=size, **init)
        expected = None
    found = lift(model, x, check=False)
    assert found.grid.shape == (len(x), 5, *size)
    assert_close(
        found.grid.astype(np.float64).mean(axis=(2, 3)).astype(np.float32), found.logits.astype(np.float64), 1e-4
    )
    if expected is not None:
        assert_close(found.grid, expected, 1e-4)
    only_the_last_cell_moves(found, x)


def only_the_last_cell_moves(found: Any, x: np.ndarray) -> None:
    """Features of an image whose last cell is another differ in that cell."""
    other = x.copy()
    other[:, :, -1, -1] += 1
    (features,) = run(found.rewrite.model, other, [found.rewrite.heads[0].features])
    differ = np.abs(features.astype(np.float64) - found.features).max(axis=(0, 1)) > 1e-6
    expected = np.zeros(x.shape[2:], bool)
    expected[-1, -1] = True
    np.testing.assert_array_equal(differ, expected)
