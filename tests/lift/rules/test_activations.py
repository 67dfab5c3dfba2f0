"""Elementwise activations after the pool: the slope frozen at the pooled value."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from onnx_gapmil.lift.rules import activations
from tests.helpers.support import (
    assert_close,
    assert_mean_is_logits,
    chain,
    check_conditional,
    check_refused,
    dense,
    frozen,
    images,
    lift,
    pooled,
    text_model,
    weights,
)

W, V = weights(5, 6), weights(6, 6, seed=4)
POOL = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"
erf = np.vectorize(math.erf)
SLOPES = weights(6)

Phi = Callable[[np.ndarray], np.ndarray]


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def gelu(z: np.ndarray) -> np.ndarray:
    return 0.5 * z * (1 + erf(z / math.sqrt(2)))


#: operator -> (ONNX text of ``h``, its other operands, phi in float64, opset)
ACTIVATIONS: dict[str, tuple[str, dict[str, np.ndarray], Phi, int]] = {
    "Abs": ("Abs(z)", {}, np.abs, 17),
    "Asinh": ("Asinh(z)", {}, np.arcsinh, 17),
    "Atan": ("Atan(z)", {}, np.arctan, 17),
    "Ceil": ("Ceil(z)", {}, np.ceil, 17),
    "Celu": ("Celu<alpha=1.5>(z)", {}, lambda z: np.maximum(0, z) + np.minimum(0, 1.5 * np.expm1(z / 1.5)), 17),
    "Clip": ("Clip(z, lo, hi)", {"lo": np.float32(-0.1), "hi": np.float32(0.2)}, lambda z: np.clip(z, -0.1, 0.2), 17),
    "Cos": ("Cos(z)", {}, np.cos, 17),
    "Cosh": ("Cosh(z)", {}, np.cosh, 17),
    "Elu": ("Elu<alpha=0.7>(z)", {}, lambda z: np.where(z > 0, z, 0.7 * np.expm1(z)), 17),
    "Erf": ("Erf(z)", {}, erf, 17),
    "Exp": ("Exp(z)", {}, np.exp, 17),
    "Floor": ("Floor(z)", {}, np.floor, 17),
    "Gelu": ("Gelu(z)", {}, gelu, 20),
    "HardSigmoid": ("HardSigmoid<alpha=0.3, beta=0.4>(z)", {}, lambda z: np.clip(0.3 * z + 0.4, 0, 1), 17),
    "HardSwish": ("HardSwish(z)", {}, lambda z: z * np.clip(z / 6 + 0.5, 0, 1), 17),
    "LeakyRelu": ("LeakyRelu<alpha=0.2>(z)", {}, lambda z: np.where(z > 0, z, 0.2 * z), 17),
    "Max": ("Max(z, c)", {"c": np.float32(-0.1)}, lambda z: np.maximum(z, np.float32(-0.1)), 17),
    "Min": ("Min(c, z)", {"c": np.float32(0.1)}, lambda z: np.minimum(z, np.float32(0.1)), 17),
    "Mish": ("Mish(z)", {}, lambda z: z * np.tanh(np.log1p(np.exp(z))), 18),
    "PRelu": ("PRelu(z, s)", {"s": SLOPES}, lambda z: np.where(z > 0, z, z * SLOPES.reshape(-1, 1, 1)), 17),
    "Pow": ("Pow(z, c)", {"c": np.float32(2)}, lambda z: z**2, 17),
    "Reciprocal": ("Reciprocal(z)", {}, lambda z: 1 / z, 17),
    "Relu": ("Relu(z)", {}, lambda z: np.maximum(z, 0), 17),
    "Round": ("Round(z)", {}, np.round, 17),
    "Selu": (
        "Selu(z)",
        {},
        lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
        17,
    ),
    "Shrink": ("Shrink<lambd=0.1>(z)", {}, lambda z: np.where(np.abs(z) > 0.1, z, 0.0), 17),
    "Sigmoid": ("Sigmoid(z)", {}, sigmoid, 17),
    "Sign": ("Sign(z)", {}, np.sign, 17),
    "Sin": ("Sin(z)", {}, np.sin, 17),
    "Sinh": ("Sinh(z)", {}, np.sinh, 17),
    "Softplus": ("Softplus(z)", {}, lambda z: np.log1p(np.exp(z)), 17),
    "Softsign": ("Softsign(z)", {}, lambda z: z / (1 + np.abs(z)), 17),
    "Tanh": ("Tanh(z)", {}, np.tanh, 17),
    "ThresholdedRelu": ("ThresholdedRelu<alpha=0.05>(z)", {}, lambda z: np.where(z > 0.05, z, 0.0), 17),
}
#: Defined for positive numbers only.
POSITIVE: dict[str, Phi] = {"Acosh": np.arccosh, "Log": np.log, "Sqrt": np.sqrt}
#: Of numbers between -1 and 1.
BOUNDED: dict[str, Phi] = {"Acos": np.arccos, "Asin": np.arcsin, "Atanh": np.arctanh, "Tan": np.tan}


def unspoken_for() -> set[str]:
    """Operators of the activation rule that no test here names."""
    operators = {
        operator for _, operator in (*activations.lift_activation.operators, *activations.lift_extreme.operators)
    }
    return operators - set(ACTIVATIONS) - set(POSITIVE) - set(BOUNDED) - {"Swish"}


def test_every_activation_with_a_rule_has_a_formula_here() -> None:
    assert unspoken_for() == set()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation_between_two_dense_layers(name: str) -> None:
    text, init, phi, opset = ACTIVATIONS[name]
    model = text_model(
        f"{POOL if opset < 18 else 'f0 = GlobalAveragePool(x)' + chr(10) + 'f = Flatten(f0)'}\n"
        f" z = Gemm<transB=1>(f, v)\n h = {text}\n y = Gemm<transB=1>(h, w)",
        opset=opset,
        init={"v": V, "w": W} | init,
    )
    anchor = 1.0 if name == "Reciprocal" else 0.0
    tolerance = 2e-4 if name in ("Reciprocal", "Cos", "Cosh") else 2e-5
    check_conditional(model, chain(dense(V), frozen(phi, anchor=anchor), dense(W)), tolerance=tolerance)


@pytest.mark.parametrize("name", sorted(POSITIVE))
def test_activation_of_positive_numbers(name: str) -> None:
    model = text_model(f"{POOL}\n h = {name}(f)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    anchor = 0.0 if name == "Sqrt" else 1.0
    check_conditional(model, chain(frozen(POSITIVE[name], anchor=anchor), dense(W)), images(model, low=1.5))


@pytest.mark.parametrize("name", sorted(BOUNDED))
def test_activation_of_numbers_between_minus_one_and_one(name: str) -> None:
    """The angles that a head with an angular margin (ArcFace) adds to."""
    body = f"{POOL}\n z = Gemm<transB=1>(f, v)\n t = Tanh(z)\n h = {name}(t)\n y = Gemm<transB=1>(h, w)"
    formula = chain(dense(V / 4), frozen(np.tanh), frozen(BOUNDED[name]), dense(W))
    check_conditional(text_model(body, init={"v": V / 4, "w": W}), formula, tolerance=2e-4)


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_maxout_takes_each_element_of_the_operand_that_holds_it(operator: str) -> None:
    """Goodfellow and others, arXiv 1302.4389; a third operand is fixed."""
    model = text_model(
        f"{POOL}\n a = Gemm<transB=1>(f, w)\n c = Gemm<transB=1>(f, u, b)\n y = {operator}(a, c, k)",
        init={"w": W, "u": weights(5, 6, seed=7), "b": weights(5), "k": np.float32(-0.2 if operator == "Max" else 0.2)},
    )
    best = np.argmax if operator == "Max" else np.argmin

    def expected(cells: np.ndarray) -> np.ndarray:
        parts = [dense(W)(cells), dense(weights(5, 6, seed=7), weights(5))(cells)]
        parts.append(np.full_like(parts[0], -0.2 if operator == "Max" else 0.2))
        held = best(np.stack([pooled(part) for part in parts]), axis=0)
        return np.where(held == 0, parts[0], np.where(held == 1, parts[1], parts[2]))

    check_conditional(model, expected)


def test_relu_on_a_pooled_map_of_four_axes() -> None:
    model = text_model(
        "p = GlobalAveragePool(x)\n c = Conv(p, v)\n h = Relu(c)\n k = Conv(h, w)\n y = Flatten(k)",
        init={"v": V[:, :, None, None], "w": W[:, :, None, None]},
    )
    check_conditional(model, chain(dense(V), frozen(ACTIVATIONS["Relu"][2]), dense(W)))


def test_relu_exactly_at_zero_keeps_the_mean() -> None:
    model = text_model(f"{POOL}\n y = Relu(f)", y="float[N,6] y")
    x = images(model)
    x[:, :, 0, 0] = 1
    x -= x.mean(axis=(2, 3), keepdims=True)
    x[0] = 0
    x[1] = 0
    x[1, :, 0, 0], x[1, :, 2, 4] = 2, -2
    found = lift(model, x)
    assert np.isfinite(found.grid).all()
    np.testing.assert_array_equal(found.grid[0], 0)
    assert np.abs(found.grid[1].mean(axis=(1, 2))).max() < 1e-6


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "Softplus", "Exp", "Cos", "HardSigmoid"])
def test_activation_at_and_near_its_anchor_takes_the_derivative(name: str) -> None:
    """Pooled values of 0 and of 1e-6: the quotient would be 0/0 or noise."""
    derivative = {"Sigmoid": 0.25, "Tanh": 1.0, "Softplus": 0.5, "Exp": 1.0, "Cos": 0.0, "HardSigmoid": 0.2}[name]
    base = {"Sigmoid": 0.5, "Tanh": 0.0, "Softplus": math.log(2), "Exp": 1.0, "Cos": 1.0, "HardSigmoid": 0.5}[name]
    model = text_model(f"{POOL}\n h = {name}(f)\n y = Add(h, h)", y="float[N,6] y")
    x = np.zeros((2, 6, 3, 5), np.float32)
    x[:, :, 0, 0], x[:, :, 2, 4] = 3, -3
    x[1] += 1e-6
    grid = lift(model, x).grid
    assert_close(grid / 2, base + derivative * x.astype(np.float64), 1e-4)


def test_activation_beside_a_kink_keeps_the_mean() -> None:
    """Pooled values around a limit of 1e-4 are where the derivative is taken, on both sides of the kink alike."""
    model = text_model(f"{POOL}\n y = Clip(f, least)", y="float[N,6] y", init={"least": np.float32(1e-4)})
    x = np.zeros((2, 6, 3, 5), np.float32)
    x[:, :, 0, 0], x[:, :, 2, 4] = 1e-3, -1e-3
    x += np.linspace(0, 1.6e-4, 12, dtype=np.float32).reshape(2, 6, 1, 1)
    found = lift(model, x)
    assert found.verdict == "conditional"
    expected = np.maximum(x.astype(np.float64).mean(axis=(2, 3)), 1e-4)
    assert_close(found.grid.astype(np.float64).mean(axis=(2, 3)), expected, 1e-4)


WRITTEN_BACK = {
    "quotient": "q = Sub(one, s)\n o = Div(s, q)\n h = Log(o)",
    "difference": "q = Sub(one, s)\n a = Log(s)\n c = Log(q)\n h = Sub(a, c)",
    "inverse": "r = Reciprocal(s)\n o = Sub(r, one)\n l = Log(o)\n h = Neg(l)",
    "clipped": "c = Clip(s, least, most)\n i = Identity(c)\n q = Sub(one, i)\n o = Div(c, q)\n h = Log(o)",
    "clipped_by_max": "m = Max(s, least)\n c = Min(m, most)\n q = Sub(one, c)\n o = Div(c, q)\n h = Log(o)",
    "logarithm": "h = Log(s)",
}


@pytest.mark.parametrize("name", sorted(WRITTEN_BACK))
def test_probabilities_written_back_as_logits_are_one_function_of_the_logits(name: str) -> None:
    """Platt and vector scaling of an exported classifier: an odds ratio between a sigmoid and a layer."""
    init = {"one": np.float32(1), "least": np.float32(0.25), "most": np.float32(0.75), "v": V, "w": W}
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, v)\n s = Sigmoid(z)\n {WRITTEN_BACK[name]}\n y = Gemm<transB=1>(h, w)",
        init=init,
    )
    limit = math.log(3)
    phi: Phi = {
        "clipped": lambda z: np.clip(z, -limit, limit),
        "clipped_by_max": lambda z: np.clip(z, -limit, limit),
        "logarithm": lambda z: np.log(sigmoid(z)),
    }.get(name, lambda z: z)
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert_close(found.grid, chain(dense(V), frozen(phi), dense(W))(found.x.astype(np.float64)), 3e-5)


def log_odds(cells: np.ndarray) -> np.ndarray:
    """``z_k - log sum e^{z_j}`` over the other classes, their shares kept at the pooled values."""
    t = pooled(cells)
    found = np.empty_like(cells)
    for k in range(cells.shape[1]):
        others = np.delete(np.arange(cells.shape[1]), k)
        grown = np.exp(t[:, others])
        total = grown.sum(axis=1, keepdims=True)
        moved = (grown / total * (cells[:, others] - t[:, others])).sum(axis=1)
        found[:, k] = cells[:, k] - np.log(total[:, 0]) - moved
    return found


#: Of the shares s of a softmax; what they are of the log-odds, which a sigmoid takes to the shares.
CALIBRATED: dict[str, tuple[str, Phi]] = {
    "logit": ("q = Sub(one, s)\n o = Div(s, q)\n h = Log(o)", lambda z: z),
    "inverse": ("r = Reciprocal(s)\n o = Sub(r, one)\n l = Log(o)\n h = Neg(l)", lambda z: z),
    "Platt": (
        "q = Sub(one, s)\n o = Div(s, q)\n l = Log(o)\n m = Mul(l, steep)\n n = Add(m, far)\n h = Sigmoid(n)",
        lambda z: sigmoid(1.5 * z - 0.25),
    ),
    "by class": (
        "q = Sub(one, s)\n o = Div(s, q)\n l = Log(o)\n m = Mul(l, each)\n n = Add(m, far)\n h = Sigmoid(n)",
        lambda z: sigmoid(np.linspace(0.5, 2, 6).reshape(1, -1, *[1] * (z.ndim - 2)) * z - 0.25),
    ),
}


@pytest.mark.parametrize("name", sorted(CALIBRATED))
def test_shares_written_back_as_logits_are_one_function_of_the_log_odds(name: str) -> None:
    text, phi = CALIBRATED[name]
    numbers = {"one": 1.0, "steep": 1.5, "far": -0.25}
    init = {key: np.float32(value) for key, value in numbers.items() if f"{key})" in text or f"({key}," in text}
    init |= {"each": np.linspace(0.5, 2, 6, dtype=np.float32)} if "each" in text else {}
    body = f"{POOL}\n z = Gemm<transB=1>(f, v)\n s = Softmax<axis=1>(z)\n {text}\n y = Gemm<transB=1>(h, w)"
    model = text_model(body, init=init | {"v": V, "w": W})
    found = lift(model, images(model))
    assert found.verdict == "conditional"
    assert_close(found.grid, chain(dense(V), log_odds, frozen(phi), dense(W))(found.x.astype(np.float64)), 3e-5)


def test_a_share_that_rounds_to_one_is_calibrated_all_the_same() -> None:
    """Its odds are infinite, and what a sigmoid makes of them is 1: a head is made of the classes' shares anew."""
    text = CALIBRATED["Platt"][0]
    body = f"{POOL}\n z = Gemm<transB=1>(f, v)\n s = Softmax<axis=1>(z)\n {text}\n t = ReduceSum<keepdims=1>(h, a)"
    init = {"one": np.float32(1), "steep": np.float32(1.5), "far": np.float32(-0.25), "a": np.array([1]), "v": V}
    model = text_model(f"{body}\n y = Div(h, t)", y="float[N,6] y", init=init)
    x = images(model)
    x[0] *= 100
    found = lift(model, x)
    assert found.vendor[0][0].max() == 1
    assert np.isfinite(found.grid).all()
    assert_mean_is_logits(found)


def test_a_probability_of_another_tensor_beside_it_is_no_function_of_one() -> None:
    body = "s = Sigmoid(z)\n t = Sigmoid(u)\n o = Div(s, t)\n h = Log(o)\n y = Gemm<transB=1>(h, w)"
    model = text_model(f"{POOL}\n z = Gemm<transB=1>(f, v)\n u = Neg(z)\n {body}", init={"v": V, "w": W})
    assert_mean_is_logits(lift(model, images(model)))


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_activation_stays_in_the_models_type(kind: str) -> None:
    dtype = {"float16": np.float16, "double": np.float64}[kind]
    model = text_model(
        f"{POOL}\n z = Gemm<transB=1>(f, v)\n h = Relu(z)\n y = Gemm<transB=1>(h, w)",
        x=f"{kind}[N,6,3,5] x",
        y=f"{kind}[N,5] y",
        init={"v": V.astype(dtype), "w": W.astype(dtype)},
    )
    x = images(model)
    found = lift(model, x)
    assert found.grid.dtype == dtype
    mean = found.grid.astype(np.float64).mean(axis=(2, 3))
    limit = 1e-2 if kind == "float16" else 1e-12
    assert np.abs(mean - found.logits).max() <= limit * np.abs(found.logits).max()


def test_gelu_spelled_with_erf() -> None:
    """``0.5 * z * (1 + erf(z / sqrt 2))``: z is lifted, the factor is a gate; the mean stays."""
    model = text_model(
        f"""{POOL}
        z = Gemm<transB=1>(f, v)
        d = Div(z, root)
        e = Erf(d)
        g = Add(e, one)
        m = Mul(z, g)
        h = Mul(m, half)
        y = Gemm<transB=1>(h, w)""",
        init={"v": V, "w": W, "root": np.float32(math.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)},
    )
    check_conditional(model, chain(dense(V), frozen(gelu), dense(W)), tolerance=3e-5)


def test_hard_swish_spelled_with_clip() -> None:
    model = text_model(
        f"""{POOL}
        z = Gemm<transB=1>(f, v)
        a = Add(z, three)
        c = Clip(a, zero, six)
        m = Mul(z, c)
        h = Mul(m, sixth)
        y = Gemm<transB=1>(h, w)""",
        init={
            "v": V,
            "w": W,
            "three": np.float32(3),
            "zero": np.float32(0),
            "six": np.float32(6),
            "sixth": np.float32(1 / 6),
        },
    )
    check_conditional(model, chain(dense(V), frozen(ACTIVATIONS["HardSwish"][2]), dense(W)), tolerance=3e-5)


def test_clip_with_attributes_of_opset_7() -> None:
    model = text_model(
        f"{POOL}\n h = Clip<min=-0.1, max=0.2>(f)\n y = Gemm<transB=1>(h, w, b)",
        opset=7,
        init={"w": W, "b": weights(5)},
    )
    check_conditional(model, chain(frozen(lambda z: np.clip(z, -0.1, 0.2)), dense(W, weights(5))))


def test_constant_over_a_pooled_tensor_is_an_activation() -> None:
    model = text_model(f"{POOL}\n h = Div(two, f)\n y = Gemm<transB=1>(h, w)", init={"w": W, "two": np.float32(2)})
    formula = chain(frozen(lambda z: 2 / z, anchor=1.0), dense(W))
    check_conditional(model, formula, images(model, low=0.5), instance=False)


def test_fused_gemm_with_relu() -> None:
    model = text_model(
        f'{POOL}\n h = com.microsoft.FusedGemm<transB=1, alpha=0.5, activation="Relu">(f, v, b)\n'
        " y = Gemm<transB=1>(h, w)",
        domains='"com.microsoft" : 1',
        init={"v": V, "w": W, "b": weights(6)},
    )
    x = images(model)
    found = lift_without_checker(model, x)
    assert found.verdict == "conditional"
    cells = x.astype(np.float64)
    assert_close(found.grid, chain(dense(0.5 * V, weights(6)), frozen(ACTIVATIONS["Relu"][2]), dense(W))(cells))


@pytest.mark.parametrize(
    ("fused", "phi"),
    [
        pytest.param('activation="Relu"', lambda z: np.maximum(z, 0), id="relu"),
        pytest.param('activation="LeakyRelu", activation_params=[0.1]',
                     lambda z: np.where(z > 0, z, 0.1 * z), id="leaky"),
        pytest.param('activation="Clip", activation_params=[-0.5, 0.25]', lambda z: np.clip(z, -0.5, 0.25), id="clip"),
        pytest.param('activation="HardSigmoid", activation_params=[0.2, 0.5]',
                     lambda z: np.clip(0.2 * z + 0.5, 0, 1), id="hard_sigmoid"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("readout", ["contribution", "instance"])
def test_fused_conv_on_a_pooled_map(fused: str, phi: Phi, readout: str) -> None:
    """MobileNetV3's head as ONNX Runtime saves it with ORT_ENABLE_EXTENDED."""
    model = text_model(
        f"g = GlobalAveragePool(x)\n c = com.microsoft.FusedConv<{fused}, kernel_shape=[1, 1]>(g, v, b)\n"
        " h = Flatten(c)\n y = Gemm<transB=1>(h, w)",
        domains='"com.microsoft" : 1',
        init={"v": V[:, :, None, None], "w": W, "b": weights(6)},
    )
    x = images(model)
    found = lift(model, x, readout=readout, check=False)
    assert found.verdict == "conditional"
    middle = frozen(phi) if readout == "contribution" else phi
    assert_close(found.grid, chain(dense(V, weights(6)), middle, dense(W))(x.astype(np.float64)))


def test_fused_conv_with_a_sum_is_refused() -> None:
    model = text_model(
        'g = GlobalAveragePool(x)\n c = com.microsoft.FusedConv<activation="Relu", kernel_shape=[1, 1]>(g, v, b, g)\n'
        " y = Flatten(c)",
        domains='"com.microsoft" : 1',
        y="float[N,6] y",
        init={"v": V[:, :, None, None], "b": weights(6)},
    )
    refusal = check_refused(model, "unknown-operator", "FusedConv")
    assert "a sum is fused into it" in refusal.message


@pytest.mark.parametrize(("name", "phi"), [("Gelu", gelu), ("QuickGelu", lambda z: z * sigmoid(1.702 * z))])
def test_contrib_activation(name: str, phi: Phi) -> None:
    model = text_model(
        f"{POOL}\n h = com.microsoft.{name}(f)\n y = Gemm<transB=1>(h, w)",
        domains='"com.microsoft" : 1',
        init={"w": W},
    )
    x = images(model)
    found = lift_without_checker(model, x)
    assert_close(found.grid, chain(frozen(phi), dense(W))(x.astype(np.float64)), 3e-5)


def lift_without_checker(model: object, x: np.ndarray) -> object:
    """Contrib operators are not the checker's; everything else of `lift` holds."""
    return lift(model, x, check=False)


def test_power_of_two_pooled_tensors_is_refused() -> None:
    model = text_model(f"{POOL}\n g = Relu(f)\n h = Pow(f, g)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    check_refused(model, "unknown-operator", "'h'")


def test_power_of_a_tensor_by_itself_is_a_function_of_it() -> None:
    model = text_model(f"{POOL}\n h = Pow(f, f)\n y = Gemm<transB=1>(h, w)", init={"w": W})
    check_conditional(model, chain(frozen(lambda z: z**z), dense(W)), images(model, low=0.5), instance=False)


def test_conditional_chain_keeps_the_mean_through_three_activations() -> None:
    model = text_model(
        f"{POOL}\n a = Relu(f)\n c = Gemm<transB=1>(a, v)\n d = Tanh(c)\n e = Gemm<transB=1>(d, v)\n g = Sigmoid(e)\n"
        " y = Gemm<transB=1>(g, w)",
        init={"v": V, "w": W},
    )
    relu, tanh = ACTIVATIONS["Relu"][2], np.tanh
    steps = chain(frozen(relu), dense(V), frozen(tanh), dense(V), frozen(sigmoid), dense(W))
    found = check_conditional(model, steps, tolerance=5e-5)
    assert np.isfinite(pooled(found.grid)).all()
