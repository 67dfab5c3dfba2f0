"""Preprocessing as PaddleX and PaddleClas write it down in the `inference.yml` that they export with a model.

PaddleClas, deploy/python/preprocess.py, has the operators and their defaults; PaddleX' image classifiers read photos in
RGB. What has no counterpart here is refused by name rather than approximated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.keys import RESIZE_DEFAULTS, Color
from onnx_gapmil.images.preprocess import Preprocess

if TYPE_CHECKING:
    from onnx_gapmil.images.input_spec import InputSpec

#: Operators that change nothing that is not the model's own: layout and batch.
_PASSED = frozenset({"ToCHWImage", "ToBatch", "KeepKeys", "ReadImage"})
_RULES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest", "area": "area"}


def is_paddle(data: object) -> bool:
    """Whether parsed YAML is an `inference.yml` with operators on images."""
    before = data.get("PreProcess") if isinstance(data, Mapping) else None
    return isinstance(before, Mapping) and "transform_ops" in before


def paddle_names(data: object) -> object:
    """The `label_list` of its postprocessing, whatever that is; None where there is none."""
    after = data.get("PostProcess") if isinstance(data, Mapping) else None
    parts = after.values() if isinstance(after, Mapping) else ()
    return next((part["label_list"] for part in parts if isinstance(part, Mapping) and "label_list" in part), None)


def from_paddle(data: Mapping[str, Any], spec: InputSpec) -> Preprocess:
    """Read `PreProcess.transform_ops` as PaddleClas applies them.

    Raises:
        PreprocessError: an operator or a value has no counterpart.
    """
    operators = data["PreProcess"]["transform_ops"]
    if not isinstance(operators, list):
        raise _wrong("transform_ops", operators, "a list of operators")
    fields: dict[str, Any] = {}
    for operator in operators:
        if not isinstance(operator, Mapping) or len(operator) != 1:
            raise _wrong("transform_ops", operator, "one operator with its parameters")
        name, given = next(iter(operator.items()))
        given = given if isinstance(given, Mapping) else {}
        if name == "DecodeImage":
            fields["color"] = "BGR" if given.get("img_mode") == "BGR" or given.get("to_rgb") is False else "RGB"
        elif name == "ResizeImage":
            fields |= _resized(given)
        elif name == "CropImage":
            fields |= _cropped(given, fields)
        elif name == "NormalizeImage":
            fields |= _normalized(given)
        elif name not in _PASSED:
            raise _wrong("transform_ops", name, "DecodeImage, ResizeImage, CropImage, NormalizeImage, ToCHWImage")
    return _made(fields, spec)


def _resized(given: Mapping[str, Any]) -> dict[str, Any]:
    interpolation = str(given.get("interpolation") or "bilinear").lower()
    if interpolation not in _RULES:
        raise _wrong("interpolation", interpolation, ", ".join(_RULES))
    pillow = str(given.get("backend") or "cv2").lower() == "pil" and interpolation in ("bilinear", "bicubic")
    fields: dict[str, Any] = {"interpolation": _RULES[interpolation] + ("-antialias" if pillow else "")}
    if given.get("resize_short") is not None:
        side = _side(given["resize_short"], "resize_short")
        return fields | {"resize": "shortest", "resized": (side, side), "size": (side, side)}
    size = _size(given.get("size"))
    return fields | {"resize": "squash", "resized": size, "size": size}


def _cropped(given: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    size, resized = _size(given.get("size")), fields.get("resized")
    if resized is None or size[0] * resized[1] != size[1] * resized[0] or size[0] > resized[0]:
        raise _wrong("CropImage", list(size), f"in proportion to the resized {resized}, and no larger")
    return {"size": size, "crop": size[0] / resized[0]}


def _normalized(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without parameters ImageNet's on 0..1."""
    mean, std = given.get("mean", [0.485, 0.456, 0.406]), given.get("std", [0.229, 0.224, 0.225])
    for key, numbers in (("mean", mean), ("std", std)):
        if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
            raise _wrong(key, numbers, "a list of numbers")
    scale = _fraction(given.get("scale", 1 / 255))
    return {"scale": scale, "mean": tuple(map(float, mean)), "std": tuple(map(float, std))}


def _made(fields: dict[str, Any], spec: InputSpec) -> Preprocess:
    fields.pop("resized", None)
    height, width = spec.size()
    size = fields.pop("size", None) or (height, width)
    if None in size:
        raise _wrong("ResizeImage", None, "an operator that states the size, which the model leaves open")
    channels = spec.channels()
    color = "GRAY" if channels == 1 else fields.pop("color", "RGB")
    nothing: dict[str, Any] = {"scale": 1.0, "mean": (0.0,) * channels, "std": (1.0,) * channels}
    return Preprocess(
        layout=spec.layout(),
        color=cast("Color", color),
        size=cast("tuple[int, int]", size),
        dtype=spec.dtype,
        **(RESIZE_DEFAULTS | nothing | {key: value for key, value in fields.items() if key != "color"}),
    )


def _fraction(value: object) -> float:
    """A number, or a quotient of two as these files write it: ``1.0/255.0``."""
    if type(value) in (int, float):
        return float(cast("float", value))
    parts = re.fullmatch(r"\s*(\d+\.?\d*)\s*/\s*(\d+\.?\d*)\s*", str(value))
    if parts is None or float(parts[2]) == 0:
        raise _wrong("scale", value, "a number such as 0.00392157, or 1.0/255.0")
    return float(parts[1]) / float(parts[2])


def _side(value: object, key: str) -> int:
    if type(value) is not int or value < 1:
        raise _wrong(key, value, "a whole number of pixels")
    return value


def _size(value: object) -> tuple[int, int]:
    """(height, width) of a number, or of these files' [width, height]."""
    if isinstance(value, list) and len(value) == 2:
        return _side(value[1], "size"), _side(value[0], "size")
    side = _side(value, "size")
    return side, side


def _wrong(key: str, value: object, legal: str) -> PreprocessError:
    return PreprocessError(
        f"PaddlePaddle's inference.yml: {key!r} is {str(value)[:60]!r}, which cannot be followed (legal: {legal}); "
        "write the preprocessing as this tool's own JSON."
    )
