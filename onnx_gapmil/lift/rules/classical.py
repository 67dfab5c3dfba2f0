"""Operators of ai.onnx.ml that scikit-learn and its like leave behind a network: linear models, scalers, normalizers.

What the grid needs of them is spelled in ONNX's own operators, which every runtime has; their numbers are attributes,
so that those are copied.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.cellwise import pooled_value
from onnx_gapmil.lift.linear_classifier import LinearModel, read_linear_classifier
from onnx_gapmil.lift.rules.activations import activate
from onnx_gapmil.lift.rules.affine import lift_concat_along
from onnx_gapmil.lift.rules.dense import pointwise
from onnx_gapmil.lift.rules.shape import lift_selection
from onnx_gapmil.lift.table import rule

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

_ML = "ai.onnx.ml"
_REDUCTIONS = {"L1": "ReduceL1", "L2": "ReduceL2", "MAX": "ReduceMax"}


@rule("LinearClassifier", domain=_ML)
def lift_linear_classifier(node: gs.Node, walk: Lifting) -> Lifted:
    """Its scores where no function follows them: a dense layer. Of two classes with one row the first has 1 - z."""
    if walk.output == node.outputs[0].name:
        raise walk.refuse("not-a-classifier", node, "its labels are no scores")
    model = read_linear_classifier(node)
    if model.activation != "none" or model.transform == "PROBIT":
        raise walk.refuse(
            "unknown-operator", node, f"its post_transform is {model.transform}: it is no linear function"
        )
    return _linear(node, walk, model)


@rule("LinearRegressor", domain=_ML)
def lift_linear_regressor(node: gs.Node, walk: Lifting) -> Lifted:
    """A dense layer."""
    targets = int(node.attrs.get("targets", 1))
    transform = _text(node.attrs.get("post_transform", "NONE"))
    if transform != "NONE":
        raise walk.refuse("unknown-operator", node, f"its post_transform is {transform}")
    weight = np.asarray(node.attrs["coefficients"], np.float32).reshape(targets, -1)
    bias = np.asarray(node.attrs.get("intercepts") or [0.0] * targets, np.float32)
    return _linear(node, walk, LinearModel(weight, bias, "none", transform))


def lift_scores_inside(node: gs.Node, walk: Lifting) -> Lifted:
    """The scores that a LinearClassifier makes probabilities of, which are no tensor of the graph.

    Returns:
        Their lift; ``step.output`` is a new tensor (N, K) of them.
    """
    model, data = read_linear_classifier(node), node.inputs[0].name
    lifted = walk.lift(data)
    build, dtype = walk.build, lifted.dtype
    weight, bias = (build.constant(part.astype(dtype)) for part in (model.weight, model.bias))
    name = _dense(node, walk, lifted, model)
    flat = build.reshape(data, [-1, lifted.channels])
    scores = build.node("Gemm", [flat, weight, bias], transB=1)
    rows = len(model.weight)
    step = replace(
        lifted.step,
        op=walk.operator(node),
        node=node.name or "",
        output=scores,
        shape=(lifted.batch, rows),
        kind="affine",
        conditional=False,
        detail=f"dense {lifted.channels} → {rows}, before its {model.transform.lower()}",
        weights=None,
    )
    made = replace(
        lifted,
        name=name,
        channels=rows,
        shape=(lifted.batch, rows),
        batch_axis=0,
        step=step,
        parents=(data,),
        quantization=None,
        rounding=None,
    )
    walk.remember(scores, made)
    return made


def _linear(node: gs.Node, walk: Lifting, model: LinearModel) -> Lifted:
    lifted = walk.lift(node.inputs[0].name)
    name = _dense(node, walk, lifted, model)
    rows = len(model.weight)
    detail = f"dense {lifted.channels} → {rows}: a 1×1 convolution on the grid"
    return walk.result(node, name, [lifted], "affine", detail, channels=rows)


def _dense(node: gs.Node, walk: Lifting, lifted: Lifted, model: LinearModel) -> str:
    if lifted.channels != model.weight.shape[1] or lifted.batch_axis != 0 or lifted.quantization is not None:
        raise walk.refuse("unknown-operator", node, f"it reads {list(lifted.shape)}, not one row for each image")
    weight, bias = (walk.build.constant(part.astype(lifted.dtype)) for part in (model.weight, model.bias))
    build = walk.build
    kernel = build.reshape(weight, [*model.weight.shape, 1, 1])
    grid = pointwise(walk, lifted, kernel, len(model.weight), "", shaped=True)
    return build.node("Add", [grid, build.reshape(bias, [1, -1, 1, 1])])


@rule("Scaler", domain=_ML)
def lift_scaler(node: gs.Node, walk: Lifting) -> Lifted:
    """``(t - offset) * scale`` for each feature."""
    lifted = walk.lift(node.inputs[0].name)
    name = lifted.name
    for key, operator in (("offset", "Sub"), ("scale", "Mul")):
        numbers = np.asarray(node.attrs.get(key) or [0.0 if key == "offset" else 1.0], lifted.dtype)
        if len(numbers) not in (1, lifted.channels):
            raise walk.refuse("unknown-operator", node, f"it has {len(numbers)} numbers for {lifted.channels} features")
        name = walk.build.node(operator, [name, walk.build.constant(numbers.reshape(1, -1, 1, 1))])
    return walk.result(node, name, [lifted], "affine", "offset and scale of each feature", batch_axis=lifted.batch_axis)


@rule("Normalizer", domain=_ML)
def lift_normalizer(node: gs.Node, walk: Lifting) -> Lifted:
    """``t / ||t||`` by the pooled vector's size."""
    lifted = walk.lift(node.inputs[0].name)
    if lifted.batch_axis != 0 or lifted.shape != (lifted.batch, lifted.channels):
        raise walk.refuse("unknown-operator", node, f"it reads {list(lifted.shape)}, not one row for each image")
    kind = _text(node.attrs.get("norm", "MAX"))
    instance = walk.readout == "instance"
    vector = lifted.name if instance else pooled_value(walk, lifted)
    name = walk.build.node("Div", [lifted.name, walk.build.reduce(_REDUCTIONS[kind], vector, [1])])
    detail = "each cell by its own size" if instance else "divided by the size of the pooled vector"
    return walk.result(node, name, [lifted], "norm", detail, conditional=True, batch_axis=0)


@rule("Imputer", domain=_ML)
def lift_imputer(node: gs.Node, walk: Lifting) -> Lifted:
    """Fills in what is not a number; a pooled feature always is one."""
    lifted = walk.lift(node.inputs[0].name)
    replaced = node.attrs.get("replaced_value_float", 0.0)
    if not np.isnan(float(replaced)):
        raise walk.refuse("unknown-operator", node, f"it replaces features that are {float(replaced):g}")
    return walk.result(node, lifted.name, [lifted], "shape", "fills in no number", batch_axis=lifted.batch_axis)


@rule("Binarizer", domain=_ML)
def lift_binarizer(node: gs.Node, walk: Lifting) -> Lifted:
    """1 above a threshold, else 0."""
    return activate(node, walk, walk.lift(node.inputs[0].name), node.inputs[0].name)


@rule("ArrayFeatureExtractor", domain=_ML)
def lift_feature_extractor(node: gs.Node, walk: Lifting) -> Lifted:
    """Some of the features."""
    return lift_selection(node, walk)


@rule("FeatureVectorizer", domain=_ML)
def lift_feature_vectorizer(node: gs.Node, walk: Lifting) -> Lifted:
    """Features side by side."""
    taken = [int(count) for count in node.attrs.get("inputdimensions", ())]
    if taken and taken != [math.prod(walk.shape(read.name)[1:]) for read in node.inputs]:
        raise walk.refuse("unknown-operator", node, "it takes a part of its inputs")
    return lift_concat_along(node, walk, 1)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
