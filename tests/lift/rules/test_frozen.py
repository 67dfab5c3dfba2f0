"""What a head keeps at its pooled value must be a function of what is pooled, however it is spelled."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.helpers.support import chain, check_conditional, check_refused, dense, lift, pooled, text_model, weights

W, V = weights(5, 6), weights(6, 6, seed=4)
#: Tokens of a map with the first of them taken, as class tokens are, and the mean of all.
TOKENS = """
    r = Reshape(x, flat)
    t = Transpose<perm=[0, 2, 1]>(r)
    cls = Gather<axis=1>(t, first)
    f = ReduceMean<axes=[1], keepdims=0>(t)
"""
END = "y = Gemm<transB=1>(h, w)"
ONE_INPUT, TWO_INPUTS = "float[N,6,3,5] x", "float[N,6,3,5] x, float[N,6] meta"


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def model(body: str, x: str = ONE_INPUT, opset: int = 17, **init: object) -> onnx.ModelProto:
    """A model of statements; the weights that they name are added."""
    known = {
        "w": W,
        "v": V,
        "flat": np.array([0, 6, -1]),
        "first": np.array(0),
        "yes": np.array(True),
        "half": np.float32(0.5),
        "half_at": np.float32(0.5),
        "ones": np.ones((1, 6), np.float32),
        "last": np.array([1]),
        "batch": np.array([0]),
    } | init
    return text_model(body, x=x, opset=opset, init={key: value for key, value in known.items() if key in body})


@pytest.mark.parametrize(
    "gate",
    [
        pytest.param("g = Sigmoid(cls)\n h = Mul(f, g)", id="sigmoid"),
        pytest.param("g = Sigmoid(cls)\n h = Mul(g, f)", id="sigmoid_first"),
        pytest.param("a = Gemm<transB=1>(cls, v)\n g = Softmax<axis=1>(a)\n h = Mul(f, g)", id="softmax"),
        pytest.param("n = ReduceL2<axes=[1], keepdims=1>(cls)\n h = Div(f, n)", id="length"),
        pytest.param("g = Greater(cls, half)\n h = Where(g, f, half)", id="condition"),
        pytest.param("a = Gemm<transB=1>(f, v)\n g = Sigmoid(a)\n h = Mul(cls, g)", id="the_gate_is_pooled"),
        pytest.param("a = Gemm<transB=1>(f, v)\n g = Sigmoid(a)\n h = Mul(g, cls)", id="the_gate_is_pooled_and_first"),
        pytest.param(
            "g = If (yes) <then_branch = a () => (float[N,6] o) { o = Sigmoid(cls) },"
            " else_branch = b () => (float[N,6] p) { p = Tanh(cls) }>\n h = Mul(f, g)",
            id="captured_by_a_branch",
        ),
        pytest.param(
            "g = If (yes) <then_branch = a () => (float[N,6] o) {"
            " o = If (yes) <then_branch = c () => (float[N,6] q) { q = Sigmoid(cls) },"
            " else_branch = d () => (float[N,6] s) { s = Tanh(cls) }> },"
            " else_branch = b () => (float[N,6] p) { p = Tanh(cls) }>\n h = Mul(f, g)",
            id="captured_by_a_branch_of_a_branch",
        ),
    ],
)
def test_a_class_token_gates_nothing_that_is_lifted(gate: str) -> None:
    check_refused(model(f"{TOKENS} {gate}\n {END}"), "class-token")


LOOPED = (
    "g0 = Sigmoid(f)\n g = Loop(two, yes, g0) <body = l (int64 i, bool c, float[N,6] s) => (bool c2, float[N,6] s2)"
    " { c2 = Identity(c)\n s2 = Mul(s, meta) }>\n h = Mul(f, g)"
)
SCANNED = (
    "g0 = Sigmoid(f)\n last_g, g = Scan <num_scan_inputs = 1, body = l (float[N,6] s, float[6] r) =>"
    " (float[N,6] s2, float[6] o) { s2 = Mul(s, meta)\n o = Identity(r) }> (g0, v)\n h = Mul(f, last_g)"
)


@pytest.mark.parametrize(
    "gate",
    [
        pytest.param(
            "g = If (yes) <then_branch = a () => (float[N,6] o) { o = Sigmoid(meta) },"
            " else_branch = b () => (float[N,6] p) { p = Tanh(meta) }>\n h = Mul(f, g)",
            id="if",
        ),
        pytest.param(LOOPED, id="loop"),
        pytest.param(SCANNED, id="scan"),
        pytest.param("g = Sigmoid(meta)\n h = Div(f, g)", id="divisor"),
        pytest.param("g = Greater(meta, half)\n h = Where(g, f, half)", id="condition"),
        pytest.param("g = Sigmoid(f)\n h = Mul(meta, g)", id="the_gate_is_pooled"),
    ],
)
def test_another_input_gates_nothing_that_is_lifted(gate: str) -> None:
    made = model(
        f"f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n {gate}\n {END}", x=TWO_INPUTS, two=np.array(2, np.int64)
    )
    check_refused(made, "side-input")


RANDOM_BRANCH = (
    "g = If (yes) <then_branch = a () => (float[1,6] o) { o = RandomUniform<shape=[1, 6]>() },"
    " else_branch = b () => (float[1,6] p) { p = RandomNormal<shape=[1, 6]>() }>"
)


@pytest.mark.parametrize(
    "gate",
    [
        pytest.param(f"{RANDOM_BRANCH}\n h = Mul(f, g)", id="gate_of_a_branch"),
        pytest.param(f"{RANDOM_BRANCH}\n h = Div(f, g)", id="divisor_of_a_branch"),
        pytest.param(f"{RANDOM_BRANCH}\n h = Add(f, g)", id="sum_of_a_branch"),
        pytest.param(
            "s = Sigmoid(f)\n g = If (yes) <then_branch = a () => (float[N,6] o) { o = Bernoulli(s) },"
            " else_branch = b () => (float[N,6] p) { p = Identity(s) }>\n h = Mul(f, g)",
            id="bernoulli_in_a_branch",
        ),
        pytest.param(
            "g = If (yes) <then_branch = a () => (float[1,6] o) { t = Constant<value = bool {1}>()"
            " o, m = Dropout(ones, half, t) }, else_branch = b () => (float[1,6] p) { p = Identity(ones) }>"
            "\n h = Mul(f, g)",
            id="dropout_in_a_branch",
        ),
        pytest.param("g, m = Dropout(ones, half, yes)\n h = Mul(f, g)", id="dropout_of_constants"),
        pytest.param("g, m = Dropout(ones, half, yes)\n h = Add(f, g)", id="dropout_of_constants_added"),
        pytest.param("s = Sigmoid(f)\n g = Bernoulli(s)\n h = Mul(f, g)", id="bernoulli"),
        pytest.param("s = Sigmoid(f)\n g, m = Dropout(s, half, yes)\n h = Mul(f, g)", id="dropout_of_a_gate"),
        pytest.param(
            "s = Softmax<axis=1>(f)\n i = Multinomial(s)\n c = Cast<to=1>(i)\n h = Mul(f, c)", id="multinomial"
        ),
    ],
)
def test_random_numbers_are_found_wherever_they_are_made(gate: str) -> None:
    check_refused(model(f"f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n {gate}\n {END}"), "random-head")


def test_random_numbers_are_found_in_a_local_function() -> None:
    """It has no inputs, so that its output would be a constant."""
    made = text_model(
        f"f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n g = local.noise()\n h = Mul(f, g)\n {END}",
        domains='"local" : 1',
        functions='<domain: "local", opset_import: ["" : 17]> noise () => (o) { o = RandomUniform<shape=[1, 6]>() }',
        init={"w": W},
    )
    check_refused(made, "random-head")


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        pytest.param("s = Identity(meta)", "side-input", id="another_input"),
        pytest.param("a = ReduceMean<axes=[1], keepdims=1>(x)\n s = RandomNormalLike(a)", "random-head", id="random"),
    ],
)
def test_attention_that_is_not_the_images_own_is_refused(scores: str, code: str) -> None:
    made = text_model(
        f"{scores}\n r = Reshape(s, flat)\n t = Softmax<axis=2>(r)\n g = Reshape(t, back)\n m = Mul(x, g)\n"
        f" f = ReduceSum<keepdims=0>(m, space)\n y = Gemm<transB=1>(f, w)",
        x="float[N,6,3,5] x, float[N,1,3,5] meta",
        init={"w": W, "flat": np.array([0, 1, -1]), "back": np.array([0, 1, 3, 5]), "space": np.array([2, 3])},
    )
    check_refused(made, code)


def test_dropout_of_constants_in_inference_is_a_constant() -> None:
    body = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n g, m = Dropout(ones, half, no)\n h = Mul(f, g)\n"
    found = lift(model(f"{body} {END}", no=np.array(False)), weights(2, 6, 3, 5))
    assert found.verdict == "exact"


@pytest.mark.parametrize(
    "gate",
    [
        pytest.param("t = Transpose(f)\n m = MatMul(f, t)\n e = Exp(m)\n g = ReduceSum<keepdims=1>(e, along)",
                     id="gram"),
        pytest.param('m = Einsum<equation="nc,mc->nm">(f, f)\n e = Exp(m)\n g = ReduceSum<keepdims=1>(e, along)',
                     id="einsum"),
        pytest.param('m = Mod<fmod=1>(f, half)\n g = Einsum<equation="nc->c">(m)', id="sum_of_what_has_no_lift"),
        pytest.param("m = Mod<fmod=1>(f, half)\n c = CumSum(m, batch)\n g = Exp(c)", id="running_sum"),
    ],
)  # fmt: skip
def test_a_gate_may_not_mix_the_images_of_a_batch_further_back(gate: str) -> None:
    body = f"f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n {gate}\n h = Div(f, g)\n {END}"
    check_refused(model(body, along=np.array([1])), "spatial-mixing-after-pool")


@pytest.mark.parametrize("operator", ["Softmax<axis=0>(f)", "ReduceMax<axes=[0], keepdims=1>(f)", "CumSum(f, batch)"])
def test_a_gate_may_not_mix_the_images_of_a_batch(operator: str) -> None:
    body = f"f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n g = {operator}\n h = Div(f, g)\n {END}"
    check_refused(model(body), "spatial-mixing-after-pool")


def test_a_gate_of_the_whole_map_is_no_function_of_what_is_pooled() -> None:
    body = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n n = ReduceProd<axes=[2, 3], keepdims=0>(x)\n h = Div(f, n)\n"
    check_refused(model(body + END), "no-spatial-pool")


def test_scores_without_a_lift_are_not_made_a_gate() -> None:
    """The bounded factor is the gate; that the other one has no lift does not change that."""
    body = (
        "k = Conv(x, kernel)\n p = ReduceMean<axes=[2, 3], keepdims=0>(k)\n g = Sigmoid(p)\n m = Flatten(k)\n"
        " z = Gemm<transB=1>(m, wide)\n c = Mod<fmod=1>(z, half)\n"
    )
    init = {"wide": weights(6, 90), "kernel": weights(6, 6, 1, 1)}
    check_refused(model(f"{body} h = Mul(c, g)\n {END}", **init), "unknown-operator")
    check_refused(model(f"{body} h = Mul(g, c)\n {END}", **init), "unknown-operator")


POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n a = Gemm<transB=1>(f, v)\n b = Gemm<transB=1>(f, u)\n"
U = weights(6, 6, seed=9)


@pytest.mark.parametrize("order", ["l, g", "g, l"])
@pytest.mark.parametrize(
    ("gate", "share"),
    [
        pytest.param("g = Sigmoid(b)", sigmoid, id="sigmoid"),
        pytest.param("g = HardSigmoid(b)", lambda z: np.clip(0.2 * z + 0.5, 0, 1), id="hard_sigmoid"),
        pytest.param(
            "n = Neg(b)\n e = Exp(n)\n d = Add(e, one)\n g = Reciprocal(d)", sigmoid, id="sigmoid_spelled_out"
        ),
        pytest.param(
            "s = Add(b, three)\n c = Clip(s, zero, six)\n g = Div(c, six)",
            lambda z: np.clip(z + 3, 0, 6) / 6,
            id="hard_sigmoid_spelled_out",
        ),
        pytest.param("s = Sigmoid(b)\n g = Sub(one, s)", lambda z: 1 - sigmoid(z), id="one_minus_sigmoid"),
    ],
)
def test_the_share_is_the_gate_and_the_value_is_lifted(order: str, gate: str, share: object) -> None:
    """``tanh(V t) * sigmoid(U t)``: both went through one activation, and both are bounded."""
    made = model(
        f"{POOL} l = Tanh(a)\n {gate}\n h = Mul({order})\n {END}",
        u=U,
        one=np.float32(1),
        zero=np.float32(0),
        three=np.float32(3),
        six=np.float32(6),
    )

    def formula(cells: np.ndarray) -> np.ndarray:
        z, kept = dense(V)(cells), pooled(dense(U)(cells))
        value = z * np.tanh(pooled(z)) / pooled(z)
        return dense(W)(value * share(kept))  # type: ignore[operator]

    check_conditional(made, formula)


@pytest.mark.parametrize("order", ["a, g", "g, a"])
@pytest.mark.parametrize("gate", ["c = Greater(b, nought)\n g = Where(c, ones, half)", "g = Softmax<axis=1>(b)"])
def test_a_gate_without_a_lift_is_a_gate_where_it_is_bounded(order: str, gate: str) -> None:
    made = model(f"{POOL} {gate}\n h = Mul({order})\n {END}", u=U, nought=np.float32(0))

    def formula(cells: np.ndarray) -> np.ndarray:
        z = pooled(dense(U)(cells))
        exp = np.exp(z - z.max(axis=1, keepdims=True))
        kept = np.where(z > 0, 1, 0.5) if "Where" in gate else exp / exp.sum(axis=1, keepdims=True)
        return dense(W)(dense(V)(cells) * kept)

    check_conditional(made, formula, instance=False)


@pytest.mark.parametrize("order", ["r, g", "g, r"])
def test_a_value_of_several_activations_is_still_the_value(order: str) -> None:
    made = model(
        f"{POOL} q = Relu(a)\n k = Gemm<transB=1>(q, v)\n r = Relu(k)\n g = Sigmoid(b)\n h = Mul({order})\n {END}", u=U
    )

    def relu(z: np.ndarray) -> np.ndarray:
        return z * (pooled(z) > 0)

    check_conditional(
        made, lambda cells: dense(W)(relu(dense(V)(relu(dense(V)(cells)))) * sigmoid(pooled(dense(U)(cells))))
    )


@pytest.mark.parametrize("order", ["a, b", "b, a"])
def test_two_factors_that_are_alike_share_evenly(order: str) -> None:
    made = model(f"{POOL} h = Mul({order})\n {END}", u=U)

    def halves(cells: np.ndarray) -> np.ndarray:
        first, second = dense(V)(cells), dense(U)(cells)
        return (first * pooled(second) + second * pooled(first)) / 2

    check_conditional(made, chain(halves, dense(W)))


def test_a_branch_that_captures_the_pooled_vector_is_a_gate() -> None:
    body = (
        "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n"
        " g = If (yes) <then_branch = a () => (float[N,6] o) { o = Sigmoid(f) },"
        " else_branch = b () => (float[N,6] p) { p = Tanh(f) }>\n h = Mul(f, g)\n"
    )
    made = model(body + END)
    check_conditional(made, chain(lambda cells: cells * sigmoid(pooled(cells)), dense(W)), instance=False)
