"""The keys of a preprocessing's JSON: which are needed, what the others default to, and their types."""

from __future__ import annotations

from typing import Any, Literal, get_args

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.geometry import RESIZE_RULES
from onnx_gapmil.images.input_spec import DTYPES, LAYOUTS
from onnx_gapmil.images.resize import INTERPOLATIONS

Color = Literal["RGB", "BGR", "GRAY"]
COLORS: tuple[str, ...] = get_args(Color)

REQUIRED = ("layout", "color", "size", "scale", "dtype")
"""Keys that a preprocessing's JSON has to have."""

RESIZE_DEFAULTS: dict[str, Any] = {"resize": "squash", "crop": 1.0, "interpolation": "bilinear"}
"""What holds where nothing says how a photo comes to the input's size: all of it is seen."""

CHOICES: dict[str, tuple[str, ...]] = {
    "layout": LAYOUTS,
    "color": COLORS,
    "resize": RESIZE_RULES,
    "interpolation": INTERPOLATIONS,
    "dtype": DTYPES,
}
"""By key: the words that it may hold."""

TYPES: dict[str, str] = {
    "layout": "text",
    "color": "text",
    "size": "integers",
    "resize": "text",
    "crop": "number",
    "interpolation": "text",
    "scale": "number",
    "mean": "numbers",
    "std": "numbers",
    "dtype": "text",
    "full_scale": "scale",
}
"""By key, in the documented order: the kind of its value."""


def typed(key: str, value: object) -> object:
    """The JSON value as the field's type; a wrong type names the key and the legal values."""
    kind = TYPES[key]
    if kind == "text" and isinstance(value, str):
        return value
    if kind in ("number", "scale") and _is_number(value):
        return _as_float(key, value)
    if kind == "scale" and isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)):
        return _as_float(key, value[0]), _as_float(key, value[1])
    if isinstance(value, list):
        if kind == "integers" and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return tuple(value)
        if kind == "numbers" and all(map(_is_number, value)):
            return tuple(_as_float(key, item) for item in value)
    expected = {
        "integers": "[height, width] in whole pixels",
        "number": "a number",
        "numbers": "a list of numbers",
        "scale": "a number such as 4095, or [lowest, highest]",
    }
    if kind == "text":
        raise wrong(key, value, "one of " + ", ".join(map(repr, CHOICES[key])))
    raise wrong(key, value, expected[kind])


def _as_float(key: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise wrong(key, "a number of hundreds of digits", "finite numbers") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def wrong(key: str, value: object, legal: str) -> PreprocessError:
    """The error of a key whose value is none of the legal ones."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return PreprocessError(f"Preprocessing: key {key!r} is {shown}, and has to be {legal}.")


def kind_of(value: object) -> str:
    """A JSON value's kind, for people."""
    names = {"list": "a list", "str": "a text", "NoneType": "null", "bool": "true or false"}
    return names.get(type(value).__name__, "a number")
