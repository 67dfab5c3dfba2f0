"""Where the logits are: what the file makes of them, computed again with NumPy, is the output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.lift.logits import find_logits, real_outputs
from tests.helpers.support import assert_close, images, run, text_model, weights

POOL = "p = GlobalAveragePool(x)\n f = Flatten(p)\n z = Gemm<transB=1>(f, w)"
W = weights(5, 6)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize(
    ("tail", "activation", "operators", "formula"),
    [
        pytest.param("y = Identity(z)", "none", (), lambda z: z, id="nothing"),
        pytest.param("y = Softmax<axis=1>(z)", "softmax", ("Softmax",), softmax, id="softmax"),
        pytest.param(
            "y = LogSoftmax<axis=1>(z)", "softmax", ("LogSoftmax",), lambda z: np.log(softmax(z)), id="log_softmax"
        ),
        pytest.param("y = Sigmoid(z)", "sigmoid", ("Sigmoid",), sigmoid, id="sigmoid"),
        pytest.param(
            "s = Softmax<axis=1>(z)\n y = Identity(s)", "softmax", ("Softmax", "Identity"), softmax, id="paddle2onnx"
        ),
        pytest.param(
            "u = Unsqueeze(z, one)\n s = Softmax<axis=2>(u)\n y = Squeeze(s, one)",
            "softmax",
            ("Softmax", "Squeeze"),
            lambda z: softmax(z[:, 0]),
            id="softmax_of_one_token",
        ),
        pytest.param(
            "s = Sigmoid(z)\n q = QuantizeLinear(s, scale, zero)\n y = DequantizeLinear(q, scale, zero)",
            "sigmoid",
            ("Sigmoid", "QuantizeLinear", "DequantizeLinear"),
            lambda z: np.round(sigmoid(z) * 255) / 255,
            id="sigmoid_of_a_quantized_model",
        ),
    ],
)
def test_output_is_the_activation_of_the_logits(
    tail: str, activation: str, operators: tuple[str, ...], formula: Callable[[np.ndarray], np.ndarray]
) -> None:
    constants = {"one": np.array([1]), "scale": np.float32(1 / 255), "zero": np.uint8(0)}
    model = text_model(
        f"{POOL}\n {tail}", init={"w": W} | {name: constants[name] for name in constants if name in tail}
    )
    found = find_logits(ModelGraph(model), "y")
    assert (found.output, found.activation, found.tail) == ("y", activation, operators)
    told = onnx.ModelProto()
    told.CopyFrom(model)
    if found.tensor != "y":
        told.graph.output.append(onnx.ValueInfoProto(name=found.tensor))
    y, *logits = run(told, images(model))
    assert_close(y, formula((logits or [y])[0].astype(np.float64)), 2e-6)


def test_the_label_of_the_likeliest_class_comes_from_the_logits_too() -> None:
    model = text_model(
        f"{POOL}\n s = Softmax<axis=1>(z)\n l = ArgMax<axis=1>(s)\n y = Cast<to=1>(l)", y="float[N,1] y", init={"w": W}
    )
    found = find_logits(ModelGraph(model), "y")
    assert (found.tensor, found.activation) == ("z", "softmax")
    assert found.tail == ("Softmax", "ArgMax", "Cast")


def test_softmax_over_the_best_classes_is_read_as_softmax() -> None:
    model = text_model(
        f"{POOL}\n v, i = TopK<axis=1>(z, two)\n y = Softmax<axis=1>(v)",
        y="float[N,2] y",
        init={"w": W, "two": np.array([2])},
    )
    found = find_logits(ModelGraph(model), "y")
    assert (found.tensor, found.activation, found.tail) == ("z", "softmax", ("TopK", "Softmax"))


def test_what_only_changes_the_shape_belongs_to_the_head() -> None:
    """Without a final activation behind it a Reshape is no tail, and the output itself holds the logits."""
    model = text_model(f"{POOL}\n y = Reshape(z, s)", y="float[N,5,1] y", init={"w": W, "s": np.array([0, 5, 1])})
    found = find_logits(ModelGraph(model), "y")
    assert (found.tensor, found.tail) == ("y", ())


def test_a_computed_target_ends_the_tail() -> None:
    model = text_model(
        f"{POOL}\n n = Shape<start=0, end=1>(x)\n k = Constant<value_ints=[5]>()\n t = Concat<axis=0>(n, k)\n"
        " r = Reshape(z, t)\n y = Softmax<axis=1>(r)",
        init={"w": W},
    )
    assert find_logits(ModelGraph(model), "y").tensor == "r"


def test_probability_and_its_complement_are_no_tail() -> None:
    model = text_model(
        f"{POOL}\n p1 = Sigmoid(z)\n p0 = Sub(one, p1)\n y = Concat<axis=1>(p0, p1)",
        y="float[N,2] y",
        init={"w": W[:1], "one": np.float32(1)},
    )
    found = find_logits(ModelGraph(model), "y")
    assert (found.tensor, found.activation, found.tail) == ("y", "none", ())


def test_constant_outputs_are_left_out() -> None:
    model = text_model(
        f"{POOL}\n y = Identity(z)\n names = Identity(w)", y="float[N,5] y, float[5,6] names", init={"w": W}
    )
    assert real_outputs(ModelGraph(model)) == ["y"]


@pytest.mark.parametrize(
    ("tail", "activation", "formula"),
    [
        ("s = Softmax<axis=1>(z)\n y = Softmax<axis=1>(s)", "none", lambda z: softmax(softmax(z))),
        ("s = Sigmoid(z)\n y = Softmax<axis=1>(s)", "none", lambda z: softmax(sigmoid(z))),
        ("s = Softmax<axis=1>(z)\n y = Sigmoid(s)", "none", lambda z: sigmoid(softmax(z))),
        ("s = Sigmoid(z)\n y = Sigmoid(s)", "none", lambda z: sigmoid(sigmoid(z))),
        ("s = Softmax<axis=1>(z)\n y = LogSoftmax<axis=1>(s)", "none", lambda z: np.log(softmax(softmax(z)))),
        ("e = Exp(z)\n y = Softmax<axis=1>(e)", "none", lambda z: softmax(np.exp(z))),
        ("l = LogSoftmax<axis=1>(z)\n y = Softmax<axis=1>(l)", "softmax", softmax),
        ("l = LogSoftmax<axis=1>(z)\n y = Exp(l)", "softmax", softmax),
        ("l = LogSoftmax<axis=1>(z)\n y = LogSoftmax<axis=1>(l)", "softmax", lambda z: np.log(softmax(z))),
    ],
)
def test_shares_of_shares_are_no_activation_of_the_logits(
    tail: str, activation: str, formula: Callable[[np.ndarray], np.ndarray]
) -> None:
    """A softmax exported twice ranks the classes as their logits do, and shows 0.33 where their softmax is 0.9."""
    model = text_model(f"{POOL}\n {tail}", init={"w": W})
    logits = find_logits(ModelGraph(model), "y")
    assert (logits.tensor, logits.activation) == ("z", activation)
    model.graph.output.append(onnx.ValueInfoProto(name="z"))
    y, z = run(model, images(model))
    assert_close(y, formula(z.astype(np.float64)))
