"""What comes after the final activation: percent, logarithms, 1 - p, several softmaxes in one output, ensembles.

The reference is the vendor's own output: a head's logits give its probabilities, or at least its ranking.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
    Head,
    Lifted,
    assert_close,
    assert_mean_is_logits,
    check_refused,
    dense,
    images,
    lift,
    pooled,
    run,
    text_model,
    weights,
)

W, U, B = weights(5, 6), weights(3, 6, seed=8), weights(5)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n z = Gemm<transB=1>(f, w, b)"
INIT = {"w": W, "b": B}
Z = dense(W, B)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray, axis: int = 1) -> np.ndarray:
    grown = np.exp(z - z.max(axis=axis, keepdims=True))
    return grown / grown.sum(axis=axis, keepdims=True)


def tail(body: str, classes: int = 5, **init: np.ndarray) -> onnx.ModelProto:
    return text_model(f"{POOL}\n {body}", y=f"float[N,{classes}] y", init=INIT | init)


def check_ranking(found: Lifted) -> None:
    """Class k of the logits is class k of the output: where the output is larger, so is the logit."""
    output = found.vendor[0].reshape(len(found.logits), -1).astype(np.float64)
    assert output.shape == found.logits.shape
    larger = output[:, :, None] > output[:, None, :]
    assert (found.logits[:, :, None] > found.logits[:, None, :])[larger].all()


@pytest.mark.parametrize(
    ("body", "sign", "activation"),
    [
        pytest.param("s = Softmax<axis=1>(z)\n y = Mul(s, k)", 1, "softmax", id="percent"),
        pytest.param("s = Sigmoid(z)\n y = Mul(k, s)", 1, "sigmoid", id="percent_of_sigmoid"),
        pytest.param("s = Softmax<axis=1>(z)\n p = Mul(s, k)\n y = Round(p)", 1, "softmax", id="rounded_percent"),
        pytest.param("s = Softmax<axis=1>(z)\n y = Log(s)", 1, "softmax", id="log"),
        pytest.param("s = Softmax<axis=1>(z)\n y = Dropout(s)", 1, "softmax", id="dropout_that_drops_nothing"),
        pytest.param("s = Softmax<axis=1>(z)\n c = Clip(s, lo, hi)\n y = Log(c)", 1, "softmax", id="clip_and_log"),
        pytest.param("s = Softmax<axis=1>(z)\n c = Max(s, lo)\n l = Log(c)\n y = Neg(l)", -1, "none", id="minus_log"),
        pytest.param("s = Softmax<axis=1>(z)\n e = Add(s, lo)\n y = Div(e, k)", 1, "softmax", id="epsilon_and_scale"),
        pytest.param("s = Softmax<axis=1>(z)\n y = Sub(one, s)", -1, "none", id="one_minus_softmax"),
        pytest.param("s = Sigmoid(z)\n y = Sub(one, s)", -1, "sigmoid", id="one_minus_sigmoid"),
        pytest.param("s = Sigmoid(z)\n n = Neg(s)\n y = Add(n, one)", -1, "sigmoid", id="one_minus_sigmoid_spelled"),
        pytest.param("s = Sigmoid(z)\n m = Mul(s, k)\n y = Sub(m, one)", 1, "sigmoid", id="centred_sigmoid"),
        pytest.param("s = Softmax<axis=1>(z)\n y = Pow(s, half)", 1, "softmax", id="root"),
        pytest.param("s = Softmax<axis=1>(z)\n d = Sub(s, one)\n y = Neg(d)", -1, "none", id="turned_twice"),
        pytest.param("n = Neg(z)\n s = Softmax<axis=1>(n)\n y = Sub(one, s)", 1, "none", id="one_minus_of_minus"),
        pytest.param("s = Softmax<axis=1>(z)\n d = Cast<to=11>(s)\n y = Cast<to=1>(d)", 1, "softmax", id="cast"),
        pytest.param("l = LogSoftmax<axis=1>(z)\n y = Pow(l, two)", -1, "none", id="square_of_what_is_negative"),
        pytest.param("l = LogSoftmax<axis=1>(z)\n y = Pow(l, three)", 1, "softmax", id="cube_of_what_is_negative"),
        pytest.param("l = LogSoftmax<axis=1>(z)\n y = Reciprocal(l)", -1, "none", id="one_by_what_is_negative"),
        pytest.param("s = Sigmoid(z)\n q = Sub(one, s)\n y = Pow(q, two)", -1, "sigmoid", id="focal"),
        pytest.param("s = Sigmoid(z)\n m = Sub(s, half)\n y = Pow(m, three)", 1, "sigmoid", id="cube_of_both_signs"),
        pytest.param("s = Sigmoid(z)\n y = Div(one, s)", -1, "sigmoid", id="one_by_a_sigmoid"),
        pytest.param("s = Sigmoid(z)\n q = Sub(one, s)\n d = Div(s, q)\n y = Log(d)", 1, "sigmoid", id="log_odds"),
        pytest.param(
            "s = Sigmoid(z)\n q = Sub(one, s)\n a = Log(s)\n d = Log(q)\n y = Sub(d, a)",
            -1,
            "sigmoid",
            id="log_odds_against",
        ),
        pytest.param(
            "s = Softmax<axis=1>(z)\n c = Clip(s, lo, hi)\n q = Sub(one, c)\n d = Div(c, q)\n y = Log(d)",
            1,
            "softmax",
            id="clipped_log_odds_of_a_softmax",
        ),
        pytest.param("s = Softmax<axis=1>(z)\n e = Mul(s, k)\n y = Add(e, s)", 1, "softmax", id="sum_of_itself"),
        pytest.param("s = Sigmoid(z)\n e = Sqrt(s)\n y = Mul(s, e)", 1, "sigmoid", id="product_with_its_root"),
    ],
)
def test_ranking_kept_or_turned_over(body: str, sign: int, activation: str) -> None:
    model = tail(
        body,
        k=number(100),
        lo=number(1e-7),
        hi=number(1),
        one=number(1),
        half=number(0.5),
        two=number(2),
        three=number(3),
    )
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("exact", activation)
    assert_close(found.grid, sign * Z(found.x.astype(np.float64)))
    assert_mean_is_logits(found)
    check_ranking(found)


SOFTMAX = {
    "plain": "e = Exp(z)\n t = ReduceSum<keepdims=1>(e, at)\n s = Div(e, t)",
    "shifted": "g = ReduceMax<axes=[1], keepdims=1>(z)\n d = Sub(z, g)\n e = Exp(d)\n"
    " t = ReduceSum<keepdims=1>(e, at)\n s = Div(e, t)",
    "identities": "e = Exp(z)\n i = Identity(e)\n t = ReduceSum<keepdims=1>(i, at)\n j = Identity(t)\n s = Div(e, j)",
}
SIGMOID = {
    "quotient": "n = Neg(z)\n e = Exp(n)\n t = Add(one, e)\n s = Div(one, t)",
    "reciprocal": "n = Neg(z)\n e = Exp(n)\n t = Add(e, one)\n s = Reciprocal(t)",
}


@pytest.mark.parametrize(
    ("body", "activation"),
    [
        *(pytest.param(f"{text}\n y = Identity(s)", "softmax", id=f"softmax_{name}") for name, text in SOFTMAX.items()),
        *(pytest.param(f"{text}\n y = Mul(s, k)", "sigmoid", id=f"sigmoid_{name}") for name, text in SIGMOID.items()),
        pytest.param(f"{SOFTMAX['plain']}\n y = Slice(s, one_, end, at)", "none", id="a_dropped_background"),
        pytest.param(f"{SOFTMAX['plain']}\n y = Sub(one, s)", "none", id="one_minus"),
    ],
)
def test_an_activation_spelled_out_is_behind_the_logits(body: str, activation: str) -> None:
    """The head is exact up to it, as where it is one operator."""
    kept = slice(1, 5) if "Slice" in body else slice(None)
    model = tail(body, 4 if "Slice" in body else 5, at=ints(1), one=number(1), k=number(100), one_=ints(1), end=ints(5))
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("exact", activation)
    sign = -1 if "Sub(one, s)" in body else 1
    assert_close(found.grid, sign * Z(found.x.astype(np.float64))[:, kept])
    check_ranking(found)


def test_a_dropout_that_drops_is_no_tail() -> None:
    body = "s = Softmax<axis=1>(z)\n y = Dropout(s, half, on)"
    check_refused(tail(body, half=number(0.5), on=np.array(True)), "random-head", "Dropout")


def test_one_class_of_a_softmax_spelled_out() -> None:
    model = tail(f"{SOFTMAX['shifted']}\n y = Slice(s, at, two, at)", 1, at=ints(1), two=ints(2))
    check_probabilities(model, lambda x: odds_lift(Z(x))[:, 1:2], "conditional")


def test_a_softmax_over_the_batch_spelled_out_is_refused() -> None:
    body = "e = Exp(z)\n t = ReduceSum<keepdims=1>(e, at)\n y = Div(e, t)"
    check_refused(tail(body, at=ints(0)), "spatial-mixing-after-pool")


def test_members_whose_softmaxes_are_spelled_out_are_an_ensemble() -> None:
    text = SOFTMAX["plain"] + "\n q = Gemm<transB=1>(f, u)\n r = Softmax<axis=1>(q)\n a = Add(s, r)\n y = Mul(a, half)"
    made = rewrite_model(tail(text, u=weights(5, 6, seed=8), at=ints(1), half=number(0.5)))
    assert [(head.output, head.activation, head.verdict) for head in made.heads] == [
        ("z", "softmax", "exact"),
        ("q", "softmax", "exact"),
    ]


def test_two_classes_the_other_way_round_are_a_softmax() -> None:
    model = tail("s = Softmax<axis=1>(v)\n y = Sub(one, s)".replace("(v)", "(q)"), 2, one=number(1), i=ints(1, 3))
    model.graph.node.insert(2, onnx.helper.make_node("Gather", ["z", "i"], ["q"], axis=1))
    found = lift(model, images(model))
    assert found.rewrite.heads[0].activation == "softmax"
    assert_close(softmax(found.logits.astype(np.float64)).astype(np.float32), found.vendor[0].astype(np.float64))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("s = Softmax<axis=1>(z)\n y = Mul(s, r)", id="another_factor_for_each_class"),
        pytest.param("s = Softmax<axis=1>(z)\n y = Add(s, r)", id="another_summand_for_each_class"),
        pytest.param("s = Softmax<axis=1>(z)\n y = Sin(s)", id="no_monotone_function"),
        pytest.param("s = Softmax<axis=1>(z)\n d = Sub(s, h)\n y = Pow(d, t)", id="square_of_both_signs"),
        pytest.param("s = Sigmoid(z)\n d = Sub(s, h)\n y = Pow(d, t)", id="square_of_a_centred_sigmoid"),
        pytest.param(
            "s = Sigmoid(z)\n q = Sub(t, s)\n y = Mul(s, q)", id="product_of_one_that_rises_and_one_that_falls"
        ),
        pytest.param("s = Sigmoid(z)\n q = Mul(s, r)\n y = Sub(q, s)", id="difference_by_another_factor_for_each"),
    ],
)
def test_functions_that_change_the_ranking_are_part_of_the_head(body: str) -> None:
    model = tail(body, r=np.abs(B), h=number(0.5), t=number(2))
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("conditional", "none")
    np.testing.assert_array_equal(found.logits, found.vendor[0])
    assert_mean_is_logits(found)


def test_expectation_over_a_softmax() -> None:
    """An age by the mean over classes of years (DEX): by the softmax's slopes at the pooled value."""
    years = np.arange(5, dtype=np.float32)[:, None] * 10
    found = lift(tail("s = Softmax<axis=1>(z)\n y = MatMul(s, years)", 1, years=years), weights(3, 6, 3, 5))
    z = Z(found.x.astype(np.float64))
    share = softmax(pooled(z))
    away = z - pooled(z)
    expected = share + share * (away - (share * away).sum(axis=1, keepdims=True))
    assert found.verdict == "conditional"
    assert_close(found.grid, np.einsum("kc,nkhw->nchw", years.astype(np.float64), expected), 2e-5)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_largest_probability_alone(keepdims: int) -> None:
    """A confidence is a label: the classes are those before."""
    model = tail(f"s = Softmax<axis=1>(z)\n y = ReduceMax<axes=[1], keepdims={keepdims}>(s)", 1)
    if not keepdims:
        del model.graph.output[0].type.tensor_type.shape.dim[1]
    found = lift(model, images(model))
    assert found.verdict == "exact"
    assert_close(found.logits, Z(found.x.astype(np.float64)).mean(axis=(2, 3)))
    assert_close(softmax(found.logits).max(axis=1), found.vendor[0].ravel().astype(np.float64))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_probability_of_the_best_class(keepdims: int) -> None:
    index = (
        "j = ArgMax<axis=1, keepdims=1>(s)" if keepdims else "i = ArgMax<axis=1, keepdims=0>(s)\n j = Unsqueeze(i, at)"
    )
    model = tail(f"s = Softmax<axis=1>(z)\n {index}\n y = GatherElements<axis=1>(s, j)", 1, at=ints(1))
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("exact", "softmax")
    assert_close(found.grid, Z(found.x.astype(np.float64)))


def test_exponential_of_distances_is_lifted_before_it() -> None:
    """A kernel or a density of exp(-60) has no digits left to be a sum of cells; its logarithm has."""
    model = tail("d = Mul(z, k)\n y = Exp(d)", k=number(-20))
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("exact", "none")
    assert_close(found.grid, -20 * Z(found.x.astype(np.float64)))
    assert_close(np.exp(found.logits), found.vendor[0].astype(np.float64), 1e-5)


def test_thresholded_classes() -> None:
    model = tail("s = Sigmoid(z)\n y = Greater(s, half)", half=number(0.5))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.BOOL
    found = lift(model, images(model))
    np.testing.assert_array_equal(found.logits > 0, found.vendor[0])


# --- several probabilities in one output: each class by its log-odds --------------------------------------------------


def log_odds(z: np.ndarray) -> np.ndarray:
    """(N, m, ...) to log-odds of each of m classes under their softmax, in float64."""
    shares = softmax(z)
    return np.log(shares) - np.log1p(-shares)


def odds_lift(cells: np.ndarray) -> np.ndarray:
    """The module's formula on cells (N, m, H, W), by finite differences of the log-odds at the pooled value."""
    t = pooled(cells)
    made = np.broadcast_to(log_odds(t), cells.shape).copy()
    step = 1e-5
    for j in range(cells.shape[1]):
        change = np.zeros_like(t)
        change[:, j] = step
        slope = (log_odds(t + change) - log_odds(t - change)) / (2 * step)
        made += slope * (cells[:, j : j + 1] - t[:, j : j + 1])
    return made


def check_probabilities(model: onnx.ModelProto, expected: Head, verdict: str, tolerance: float = 2e-5) -> Lifted:
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == (verdict, "sigmoid")
    assert_close(sigmoid(found.logits).reshape(found.vendor[0].shape), found.vendor[0].astype(np.float64))
    assert_mean_is_logits(found)
    assert_close(found.grid, expected(found.x.astype(np.float64)), tolerance)
    check_ranking(found)
    return found


TASKS = "u0 = Gemm<transB=1>(f, u)\n s = Softmax<axis=1>(z)\n t = Softmax<axis=1>(u0)\n"


def test_softmaxes_of_two_tasks_in_one_output() -> None:
    model = tail(f"{TASKS} y = Concat<axis=1>(s, t)", 8, u=U)
    expected = lambda x: np.concatenate([odds_lift(Z(x)), odds_lift(dense(U)(x))], axis=1)  # noqa: E731
    check_probabilities(model, expected, "conditional")


def test_one_layer_of_several_tasks_softmaxed_apart() -> None:
    model = tail("r = Reshape(z6, s)\n p = Softmax<axis=2>(r)\n y = Reshape(p, t)", 6, s=ints(0, 2, 3), t=ints(0, 6))
    model.graph.node.insert(2, onnx.helper.make_node("Gather", ["z", "i"], ["z6"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(0, 1, 2, 3, 4, 0), "i"))

    def expected(x: np.ndarray) -> np.ndarray:
        z = Z(x)[:, [0, 1, 2, 3, 4, 0]]
        return np.concatenate([odds_lift(z[:, :3]), odds_lift(z[:, 3:])], axis=1)

    check_probabilities(model, expected, "conditional")


def test_classes_in_front_of_their_tasks() -> None:
    """A softmax along the first of two axes: the classes of a task do not lie one behind the other."""
    model = tail("r = Reshape(z6, s)\n p = Softmax<axis=1>(r)\n y = Flatten(p)", 6, s=ints(0, 3, 2))
    model.graph.node.insert(2, onnx.helper.make_node("Gather", ["z", "i"], ["z6"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(0, 1, 2, 3, 4, 0), "i"))

    def expected(x: np.ndarray) -> np.ndarray:
        z = Z(x)[:, [0, 1, 2, 3, 4, 0]]
        made = np.empty_like(z)
        made[:, 0::2], made[:, 1::2] = odds_lift(z[:, 0::2]), odds_lift(z[:, 1::2])
        return made

    check_probabilities(model, expected, "conditional")


def test_one_of_several_classes_under_a_softmax() -> None:
    model = tail("s = Softmax<axis=1>(z)\n y = Slice(s, one, two, one)", 1, one=ints(1), two=ints(2))
    check_probabilities(model, lambda x: odds_lift(Z(x))[:, 1:2], "conditional")


def test_the_yes_of_several_pairs() -> None:
    model = tail(
        "q = Gather<axis=1>(z, i)\n r = Reshape(q, s)\n p = Softmax<axis=2>(r)\n y = Gather<axis=2>(p, one)", 2
    )
    for name, value in {"i": ints(0, 1, 2, 3), "s": ints(0, 2, 2), "one": np.int64(1)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    check_probabilities(model, lambda x: Z(x)[:, [1, 3]] - Z(x)[:, [0, 2]], "exact")


def test_softmax_and_sigmoid_in_one_output() -> None:
    model = tail(f"{TASKS.replace('t = Softmax<axis=1>(u0)', 't = Sigmoid(u0)')} y = Concat<axis=1>(s, t)", 8, u=U)
    expected = lambda x: np.concatenate([odds_lift(Z(x)), dense(U)(x)], axis=1)  # noqa: E731
    check_probabilities(model, expected, "conditional")


@pytest.mark.parametrize("order", ["q, p", "p, q"])
def test_a_probability_and_its_complement(order: str) -> None:
    model = tail(f"p = Sigmoid(z)\n q = Sub(one, p)\n y = Concat<axis=1>({order})", 10, one=number(1))
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("conditional", "none")
    np.testing.assert_array_equal(found.logits, found.vendor[0])
    assert_mean_is_logits(found)


def test_saturated_softmaxes_keep_the_mean() -> None:
    model = tail(f"{TASKS} y = Concat<axis=1>(s, t)", 8, u=U)
    found = lift(model, 60 * images(model))
    assert np.isfinite(found.grid).all()
    assert np.isfinite(found.logits).all()
    assert_mean_is_logits(found)


def test_product_along_a_hierarchy() -> None:
    """P(group) P(class | group), the groups gathered for each class: by the logarithm, which adds up."""
    model = tail(
        "u0 = Gemm<transB=1>(f, u)\n s = Softmax<axis=1>(z)\n t = Sigmoid(u0)\n g = Gather<axis=1>(t, i)\n"
        " y = Mul(g, s)",
        u=U,
        i=ints(0, 0, 1, 1, 2),
    )
    found = lift(model, images(model))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("conditional", "none")
    assert_close(np.exp(found.logits), found.vendor[0].astype(np.float64))
    assert_mean_is_logits(found)
    check_ranking(found)


@pytest.mark.parametrize(
    ("body", "classes"),
    [
        pytest.param("a = Add(q, one)\n y = Mul(p, a)", 5, id="times_one_and_a_probability"),
        pytest.param("a = Greater(q, half)\n c = Cast<to=1>(a)\n y = Mul(p, c)", 5, id="times_a_threshold"),
        pytest.param("a = Reciprocal(q)\n y = Mul(p, a)", 5, id="by_a_probability"),
        pytest.param("a = Mul(p, half)\n y = Concat<axis=1>(a, q)", 10, id="half_of_one_task_beside_another"),
    ],
)
def test_functions_of_a_part_change_the_ranking_of_all(body: str, classes: int) -> None:
    """A product with ``1 + q`` is none with q, and half of one task's probability stands elsewhere among another's."""
    model = tail(
        f"p = Softmax<axis=1>(z)\n u = Gemm<transB=1>(f, other)\n q = Sigmoid(u)\n {body}",
        classes, one=number(1), half=number(0.5), other=weights(5, 6, seed=7),
    )  # fmt: skip
    found = lift(model, images(model))
    check_ranking(found)
    assert_mean_is_logits(found)


def test_what_is_joined_again_and_again_is_lifted_once() -> None:
    steps = ["p0 = Softmax<axis=1>(z)", "q = Sigmoid(z)"]
    for place in range(30):
        steps += [
            f"m{place} = Mul(p{place}, q)",
            f"a{place} = Slice(p{place}, begin, middle, along)",
            f"b{place} = Slice(m{place}, middle, end, along)",
            f"p{place + 1} = Concat<axis=1>(a{place}, b{place})",
        ]
    body = "\n".join([*steps, "y = Identity(p30)"])
    model = tail(body, begin=ints(0), middle=ints(2), end=ints(5), along=ints(1))
    made = rewrite_model(model)
    assert len(made.model.graph.node) < 20 * len(model.graph.node)


@pytest.mark.parametrize("size", ["3,5", "H,W"])
def test_logarithms_added_along_a_hierarchy(size: str) -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w, b)\n u0 = Gemm<transB=1>(f, u)\n"
        " s = LogSoftmax<axis=1>(z)\n t = LogSoftmax<axis=1>(u0)\n g = Gather<axis=1>(t, i)\n y = Add(g, s)",
        x=f"float[N,6,{size}] x",
        init=INIT | {"u": U, "i": ints(0, 0, 1, 1, 2)},
    )
    found = lift(model, weights(3, 6, 3, 5))
    assert found.verdict == "conditional"
    np.testing.assert_array_equal(found.logits, found.vendor[0])
    assert_mean_is_logits(found)


# --- ensembles --------------------------------------------------------------------------------------------------------

MEMBERS = (
    "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n a = Gemm<transB=1>(f, w, b)\n k = Relu(x)\n"
    " g = ReduceMean<axes=[2, 3], keepdims=0>(k)\n c = Gemm<transB=1>(g, w)\n"
    " p = Softmax<axis=1>(a)\n q = Softmax<axis=1>(c)\n"
)
AVERAGES = {
    "add_and_div": "s = Add(p, q)\n y = Div(s, two)",
    "mean": "y = Mean(p, q)",
    "sum_and_mul": "s = Sum(p, q)\n y = Mul(s, half)",
    "weighted": "m = Mul(p, half)\n n = Mul(q, two)\n y = Add(m, n)",
    "stacked": "m = Unsqueeze(p, at)\n n = Unsqueeze(q, at)\n s = Concat<axis=1>(m, n)\n"
    " y = ReduceMean<axes=[1], keepdims=0>(s)",
    "stacked_in_front": "m = Unsqueeze(p, zero)\n n = Unsqueeze(q, zero)\n s = Concat<axis=0>(m, n)\n"
    " y = ReduceMean<axes=[0], keepdims=0>(s)",
    "percent": "s = Add(p, q)\n y = Mul(s, two)",
}


def members(body: str) -> onnx.ModelProto:
    init = INIT | {"two": number(2), "half": number(0.5), "at": ints(1), "zero": ints(0)}
    return text_model(f"{MEMBERS} {body}", init=init)


@pytest.mark.parametrize("average", sorted(AVERAGES))
def test_each_member_of_an_ensemble_is_a_head_of_its_own(average: str) -> None:
    model = members(AVERAGES[average])
    x = images(model)
    rewritten = rewrite_model(model)
    assert [(head.output, head.outputs, head.verdict) for head in rewritten.heads] == [
        ("a", ("y",), "exact"),
        ("c", ("y",), "exact"),
    ]
    assert [head.grid for head in rewritten.heads] == ["gapmil_grid_a", "gapmil_grid_c"]
    grids = run(rewritten.model, x, ["gapmil_grid_a", "gapmil_grid_c", "y"])
    assert_close(grids[0], Z(x.astype(np.float64)))
    assert_close(grids[1], dense(W)(np.maximum(x, 0).astype(np.float64)))
    scale = {"weighted": (0.5, 2.0), "percent": (2.0, 2.0)}.get(average, (0.5, 0.5))
    shares = [softmax(grid.mean(axis=(2, 3))) for grid in grids[:2]]
    assert_close(scale[0] * shares[0] + scale[1] * shares[1], grids[2].astype(np.float64), 2e-5)


def test_classes_chosen_behind_an_ensemble() -> None:
    model = members("s = Add(p, q)\n y = Slice(s, at, end, at)")
    model.graph.initializer.append(onnx.numpy_helper.from_array(ints(4), "end"))
    x = images(model)
    rewritten = rewrite_model(model)
    (grid,) = run(rewritten.model, x, ["gapmil_grid_a"])
    assert_close(grid, Z(x.astype(np.float64))[:, 1:4])


def test_members_that_one_layer_makes() -> None:
    model = tail(
        "r = Reshape(w15, s)\n p = Softmax<axis=2>(r)\n y = ReduceMean<axes=[1], keepdims=0>(p)", s=ints(0, 3, 5)
    )
    model.graph.node.insert(2, onnx.helper.make_node("Gemm", ["f", "m"], ["w15"], transB=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights(15, 6), "m"))
    x = images(model)
    rewritten = rewrite_model(model)
    assert [head.output for head in rewritten.heads] == ["r_0", "r_1", "r_2"]
    for slot, head in enumerate(rewritten.heads):
        (grid,) = run(rewritten.model, x, [head.grid])
        assert_close(grid, dense(weights(15, 6)[5 * slot : 5 * slot + 5])(x.astype(np.float64)))


def test_member_that_is_an_output_too_is_one_head() -> None:
    model = members("y = Mean(p, q)")
    model.graph.output.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.FLOAT, ["N", 5]))
    assert {head.output: head.outputs for head in rewrite_model(model).heads} == {"a": ("y",), "q": ("q", "y")}


def test_ensemble_without_a_member_that_lifts_is_refused_by_its_name() -> None:
    """Attention over the batch of tokens: each member reads one token."""
    model = text_model(
        "r = Reshape(x, s)\n t = Transpose<perm=[0, 2, 1]>(r)\n e = Gather<axis=1>(t, i)\n a = Gemm<transB=1>(e, w)\n"
        " h = Gemm<transB=1>(e, w, b)\n p = Softmax<axis=1>(a)\n q = Softmax<axis=1>(h)\n y = Mean(p, q)",
        init=INIT | {"s": ints(0, 6, 15), "i": np.int64(0)},
    )
    refusal = check_refused(model, "ensemble")
    assert "class-token" in refusal.message


def test_average_of_members_over_their_classes_is_none() -> None:
    """The mean over the classes of a softmax is 1 / K."""
    model = tail("s = Softmax<axis=1>(z)\n y = ReduceMean<axes=[1]>(s)", 1)
    found = lift(model, images(model))
    assert_close(found.grid, np.full_like(found.grid, 0.2, dtype=np.float64))
