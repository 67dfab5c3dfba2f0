"""Checks of place by stripes, of models that are spelled in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnx_gapmil.graph.inputs import concrete_inputs
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.images.places import AxisPlaces, Places
from onnx_gapmil.rewriting.proof.place import check_places
from onnx_gapmil.rewriting.proof.place_check import PlaceCheck
from onnx_gapmil.rewriting.proof.stimulus import MAX_STRIPES
from tests.helpers.support import session, text_model, weights

#: An image of 32 x 32 in patches of 4 x 4: a map of 8 x 8 in which each cell sees its own patch.
PATCHES = "c = Conv<strides=[4,4]>(x, k)\n a = Relu(c)"
KERNEL = {"k": weights(6, 3, 4, 4)}
IMAGE = "float[N,3,32,32] x"
FLIP = "y = Slice(a, last, end, axis, back)"
FLIPS = {"last": np.array([-1]), "end": np.array([-99]), "axis": np.array([3]), "back": np.array([-1])}


def check(
    body: str,
    *,
    x: str = IMAGE,
    y: str = "float[N,6,H,W] y",
    places: Places | None = None,
    size: tuple[int, int] = (32, 32),
    stripes: int = MAX_STRIPES,
    least: int = 0,
    joined: Sequence[int] = (),
    opset: int = 17,
    **init: np.ndarray,
) -> PlaceCheck:
    """The check of a model's map, which is said to tile the image."""
    model = text_model(body, x=x, y=y, opset=opset, init={**KERNEL, **init})
    return check_model(model, places, size, stripes, least, joined)


def check_model(
    model: onnx.ModelProto,
    places: Places | None,
    size: tuple[int, int] = (32, 32),
    stripes: int = MAX_STRIPES,
    least: int = 0,
    joined: Sequence[int] = (),
) -> PlaceCheck:
    """The same of a model."""
    inputs = concrete_inputs(ModelGraph(model, None), 2, size)
    made = session(model)

    def run(feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        found: np.ndarray = made.run(None, dict(feeds))[0]
        return found

    if places is None:
        shape = run({entry.name: np.zeros(entry.traced, entry.dtype) for entry in inputs}).shape
        places = Places(True, "x", AxisPlaces.tiling(shape[2], size[0]), AxisPlaces.tiling(shape[3], size[1]))
    return check_places(run, inputs, places, np.dtype(np.float32), stripes, least=least, parts=joined)
