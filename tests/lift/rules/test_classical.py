"""Operators of ai.onnx.ml behind a network: the references are ONNX Runtime's own answers and float64 formulas."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import (
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

W, B = weights(5, 6), weights(5)
ONE, ONE_BIAS = weights(1, 6, seed=5), np.array([0.3], np.float32)


def numbers(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.8g}" for value in np.ravel(values)) + "]"


def model(body: str, *, y: str = "float[N,5] y", **init: np.ndarray) -> onnx.ModelProto:
    pool = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)"
    return text_model(f"{pool}\n {body}", y=y, domains='"ai.onnx.ml" : 3', init=init)


def classifier(weight: np.ndarray, bias: np.ndarray, transform: str, classes: int, data: str = "f") -> str:
    labels = list(range(classes))
    return (
        f"l, s = ai.onnx.ml.LinearClassifier<coefficients={numbers(weight)}, intercepts={numbers(bias)}, "
        f'classlabels_ints={labels}, post_transform="{transform}">({data})'
    )


def lifted(made: onnx.ModelProto, x: np.ndarray | None = None) -> Lifted:
    found = lift(made, images(made) if x is None else x)
    assert_mean_is_logits(found)
    return found


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    grown = np.exp(z)
    return grown / grown.sum(axis=1, keepdims=True)


def test_logistic_regression_without_a_transform_is_a_dense_layer() -> None:
    found = lifted(model(f"{classifier(W, B, 'NONE', 5)}\n y = Identity(s)"))
    assert found.verdict == "exact"
    np.testing.assert_array_equal(found.logits, found.vendor[0])
    assert_close(found.grid, dense(W, B)(found.x.astype(np.float64)))


@pytest.mark.parametrize(
    ("transform", "activation", "function"),
    [("SOFTMAX", "softmax", softmax), ("LOGISTIC", "sigmoid", sigmoid), ("SOFTMAX_ZERO", "softmax", softmax)],
)
def test_scores_within_the_operator(transform: str, activation: str, function: object) -> None:
    found = lifted(model(f"{classifier(W, B, transform, 5)}\n y = Identity(s)"))
    assert (found.verdict, found.rewrite.heads[0].activation) == ("exact", activation)
    assert_close(found.grid, dense(W, B)(found.x.astype(np.float64)))
    assert_close(function(found.logits.astype(np.float64)), found.vendor[0].astype(np.float64), 1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_two_classes_with_one_row(transform: str) -> None:
    """ONNX Runtime makes [1 - z, z] of it, by a logistic function [1 - p, p], which is a softmax."""
    found = lifted(model(f"{classifier(ONE, ONE_BIAS, transform, 2)}\n y = Identity(s)", y="float[N,2] y"))
    assert found.verdict == "exact"
    z = dense(ONE, ONE_BIAS)(found.x.astype(np.float64))
    if transform == "LOGISTIC":
        assert_close(softmax(found.logits.astype(np.float64)), found.vendor[0].astype(np.float64), 1e-6)
        assert_close(found.grid, np.concatenate([-z, z], axis=1) / 2)
    else:
        assert_close(found.logits, found.vendor[0].astype(np.float64))
        assert_close(found.grid, np.concatenate([1 - z, z], axis=1))


def test_labels_and_probabilities_are_one_head() -> None:
    """As skl2onnx writes a pipeline: scaler, classifier, normalizer, map."""
    body = (
        f"t = ai.onnx.ml.Scaler<offset={numbers(B[[0] * 6])}, scale={numbers(weights(6))}>(f)\n"
        f" {classifier(W, B, 'SOFTMAX', 5, data='t')}\n label = Cast<to=7>(l)\n"
        ' y = ai.onnx.ml.Normalizer<norm="L1">(s)'
    )
    made = model(body)
    made.graph.output.insert(0, onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["N"]))
    x = images(made)
    rewritten = rewrite_model(made)
    (head,) = rewritten.heads
    assert set(head.outputs) == {"label", "y"}
    grid, logits, label = run(rewritten.model, x, [head.grid, head.logits, "label"])
    cells = (x.astype(np.float64) - B[0]) * weights(6)[:, None, None]
    assert_close(grid, dense(W, B)(cells), 2e-5)
    np.testing.assert_array_equal(logits.argmax(axis=1), label)


def test_probability_of_one_class_of_two() -> None:
    body = f"{classifier(W[:2], B[:2], 'SOFTMAX', 2)}\n y = ai.onnx.ml.ArrayFeatureExtractor(s, i)"
    found = lifted(model(body, y="float[N,1] y", i=np.array([1])))
    z = dense(W[:2], B[:2])(found.x.astype(np.float64))
    assert found.rewrite.heads[0].activation == "sigmoid"
    assert_close(found.grid, z[:, 1:] - z[:, :1])
    assert_close(sigmoid(found.logits.astype(np.float64)), found.vendor[0].astype(np.float64), 1e-6)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            f"s = ai.onnx.ml.Scaler<offset={numbers(weights(6))}, scale={numbers(weights(6, seed=2))}>(f)", id="scaler"
        ),
        pytest.param("s = ai.onnx.ml.ArrayFeatureExtractor(f, i)", id="feature_extractor"),
        pytest.param(
            f"s = ai.onnx.ml.LinearRegressor<coefficients={numbers(weights(6, 6))}, intercepts={numbers(weights(6))}, "
            "targets=6>(f)",
            id="linear_regressor",
        ),
    ],
)
def test_affine_operators_before_a_dense_layer(body: str) -> None:
    made = model(f"{body}\n y = Gemm<transB=1>(s, w, b)", w=W, b=B, i=np.array([5, 0, 1, 1, 4, 2]))
    found = lifted(made)
    assert found.verdict == "exact"
    cells = found.x.reshape(3, 6, 15)
    alone = [run(made, np.repeat(cells[:, :, at], 15, axis=1).reshape(found.x.shape))[0] for at in range(15)]
    assert_close(found.grid.reshape(3, 5, 15), np.stack(alone, axis=2).astype(np.float64))


@pytest.mark.parametrize("norm", ["L1", "L2", "MAX"])
def test_normalizer_divides_by_the_size_of_the_pooled_vector(norm: str) -> None:
    found = lifted(model(f'n = ai.onnx.ml.Normalizer<norm="{norm}">(f)\n y = Gemm<transB=1>(n, w, b)', w=W, b=B))
    cells = found.x.astype(np.float64)
    t = pooled(cells)
    size = {"L1": np.abs(t).sum(1), "L2": np.sqrt((t**2).sum(1)), "MAX": t.max(1)}[norm][:, None]
    assert found.verdict == "conditional"
    assert_close(found.grid, dense(W, B)(cells / size), 2e-5)


def test_classifier_by_kernels_has_no_lift() -> None:
    body = (
        "l, y = ai.onnx.ml.SVMClassifier<coefficients=[1.0, -1.0], support_vectors="
        f"{numbers(weights(2, 6))}, rho=[0.1], vectors_per_class=[1, 1], classlabels_ints=[0, 1], "
        'kernel_type="RBF", kernel_params=[0.1, 0.0, 3.0]>(f)'
    )
    check_refused(model(body, y="float[N,2] y"), "unknown-operator", "SVMClassifier")


def test_a_vector_of_a_part_of_its_features_is_refused() -> None:
    body = "f = ReduceMean<axes=[2, 3], keepdims=0>(x)\n v = ai.onnx.ml.FeatureVectorizer<inputdimensions=[4]>(f)\n"
    model = text_model(f"{body} y = Gemm<transB=1>(v, w)", init={"w": weights(5, 4)}, domains='"ai.onnx.ml":3')
    check_refused(model, "unknown-operator")
