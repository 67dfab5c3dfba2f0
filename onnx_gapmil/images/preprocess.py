"""`Preprocess`: how a photo becomes the network's input; a small, printable, serializable value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.files.wording import count
from onnx_gapmil.images.geometry import RESIZE_RULES, Geometry, ResizeRule
from onnx_gapmil.images.input_spec import DTYPES, LAYOUTS, InputSpec, Layout
from onnx_gapmil.images.resize import INTERPOLATIONS, Interpolation, resize

__all__ = ["COLORS", "Color", "InputSpec", "Preprocess"]

Color = Literal["RGB", "BGR", "GRAY"]
COLORS: tuple[str, ...] = get_args(Color)

MAX_SIDE = 8192
"""Largest height or width of a network's input that is prepared."""

_FEWEST_LEVELS = 16
"""An integer input into which 256 grey levels shrink to fewer than this was not meant."""


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes the network's input: `(pixel * scale - mean) / std`, pixel in 0..255.

    Attributes:
        layout: "NCHW" or "NHWC".
        color: "RGB", "BGR", or "GRAY" (one channel: 0.299 R + 0.587 G + 0.114 B, rounded, before resizing).
        size: (height, width) of the input in pixels.
        resize: "squash", "shortest" or "letterbox"; see `Geometry.plan`. Letterbox padding has the colour
            that becomes zero, `round(mean / scale)` clipped to 0..255, as timm's "border" mode: black where
            mean is 0.
        crop: share of the resized photo that is kept along each side, in (0, 1]; the rest is cropped off
            evenly.
        interpolation: one of `INTERPOLATIONS`.
        scale: factor on the 0..255 pixel.
        mean: one number for each channel, in `color`'s order, after `scale`.
        std: the same; never 0.
        dtype: numpy name of the input's element type. For an integer type the value is rounded (halves to
            even) and saturated, never wrapped.

    Raises:
        PreprocessError: a value is not legal.
    """

    layout: Layout
    color: Color
    size: tuple[int, int]
    resize: ResizeRule
    crop: float
    interpolation: Interpolation
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = field(default="float32")

    def __post_init__(self) -> None:
        for key, legal in _CHOICES.items():
            if getattr(self, key) not in legal:
                raise _wrong(key, getattr(self, key), "one of " + ", ".join(map(repr, legal)))
        if len(self.size) != 2 or not all(1 <= side <= MAX_SIDE for side in self.size):
            raise _wrong("size", list(self.size), f"[height, width], each in 1..{MAX_SIDE}")
        if not 0.0 < self.crop <= 1.0 or max(self.size) / self.crop > 2 * MAX_SIDE:
            raise _wrong("crop", self.crop, "a number above 0 and up to 1, such as 0.875")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise _wrong("scale", self.scale, "a finite number other than 0, such as 0.00392157 (1/255)")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise _wrong(key, list(values), f"{count(self.channels, 'finite number')}, for color {self.color!r}")
        if 0 in self.std:
            raise _wrong("std", list(self.std), "numbers other than 0")
        self._check_levels()

    @property
    def channels(self) -> int:
        """1 for GRAY, else 3."""
        return 1 if self.color == "GRAY" else 3

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one prepared photo: (C, H, W), or (H, W, C) under "NHWC"."""
        height, width = self.size
        return (self.channels, height, width) if self.layout == "NCHW" else (height, width, self.channels)

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """NumPy's type for `dtype`."""
        return _numpy_dtype(self.dtype)

    @classmethod
    def from_json(cls, data: object) -> Preprocess:
        """Read the JSON object that `to_json` writes. Strict: all keys, no others, no conversions.

        Args:
            data: the parsed JSON.

        Raises:
            PreprocessError: naming the key, what it held and what it may hold.
        """
        if not isinstance(data, Mapping):
            raise PreprocessError(f"Preprocessing: a JSON object was expected, not {_kind(data)}.")
        unknown = [str(key) for key in data if key not in _TYPES]
        if unknown:
            raise PreprocessError(f"Preprocessing: unknown key {unknown[0]!r}; the keys are {', '.join(_TYPES)}.")
        missing = [key for key in _TYPES if key not in data]
        if missing:
            raise PreprocessError(f"Preprocessing: key {missing[0]!r} is missing; needed are {', '.join(_TYPES)}.")
        fields: dict[str, Any] = {key: _typed(key, data[key]) for key in _TYPES}
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """The value as plain JSON types, in the documented order of keys."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    def describe(self) -> str:
        """One line that says all of it."""
        height, width = self.size
        target = (math.floor(height / self.crop), math.floor(width / self.crop))
        to = f"{target[1]}x{target[0]}"
        if self.resize == "shortest" and target[0] == target[1]:
            steps = f"shorter side to {target[0]}"
        else:
            steps = {"squash": "squash to ", "shortest": "cover ", "letterbox": "fit into "}[self.resize] + to
        if target != self.size:
            steps += f", centre crop {width}x{height}"
        mean, std = _numbers(self.mean), _numbers(self.std)
        return (
            f"{self.layout} {self.dtype} {self.color} {width}x{height} (width x height); {steps}; "
            f"{self.interpolation}; (pixel * {self.scale:.6g} - {mean}) / {std}"
        )

    def check_fits(self, spec: InputSpec) -> None:
        """Hold layout, channels, size and type against the model's input.

        Raises:
            PreprocessError: naming the first key that does not fit, and both values.
        """
        height, width = spec.size()
        size = [height or self.size[0], width or self.size[1]]
        channels = spec.channels()
        by_channels = "GRAY" if channels == 1 else "RGB or BGR"
        for key, mine, models, fits in (
            (
                "layout",
                self.layout,
                spec.layout(),
                self.layout == spec.layout() or spec.layout_is_ambiguous(),
            ),
            ("color", self.color, f"{count(channels, 'channel')}, {by_channels}", self.channels == channels),
            ("size", list(self.size), size, list(self.size) == size),
            ("dtype", self.dtype, spec.dtype, self.dtype == spec.dtype),
        ):
            if not fits:
                raise PreprocessError(
                    f"Preprocessing does not fit the model: key {key!r} is {mine}, "
                    f"and input {spec.name!r} takes {models}."
                )

    def apply(self, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], Geometry]:
        """Prepare one photo.

        Args:
            image: (H, W, 3), RGB, uint8.

        Returns:
            The input without its batch axis, (C, H, W) or (H, W, C) as `layout` says, C-contiguous, in
            `dtype`; and where it lies in the photo.

        Raises:
            ImageError: the photo is too long and thin to be resized.
        """
        array = np.empty(self.input_shape, self.input_dtype)
        return array, self.apply_into(image, array)

    def apply_into(self, image: npt.NDArray[np.uint8], out: npt.NDArray[Any]) -> Geometry:
        """Prepare one photo as `apply` does, into an array that is there already, such as a row of a batch.

        Args:
            image: (H, W, 3), RGB, uint8.
            out: of `input_shape` and `input_dtype`, C-contiguous; its content is overwritten.

        Raises:
            ImageError: the photo is too long and thin to be resized; `out` is as it was.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise TypeError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        geometry = Geometry.plan((image.shape[0], image.shape[1]), self.size, self.resize, self.crop)
        coloured = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if self.color == "GRAY" else image
        window = self._window(resize(coloured, geometry.resized_size, self.interpolation), geometry)
        if self.color == "BGR":
            window = window[:, :, ::-1]
        self._normalize(window, out)
        return geometry

    def apply_batch(self, images: Sequence[npt.NDArray[np.uint8]]) -> tuple[npt.NDArray[Any], tuple[Geometry, ...]]:
        """Prepare several photos, of any sizes: (N, C, H, W) or (N, H, W, C), and N geometries, N >= 1."""
        if not images:
            raise ValueError("a batch needs at least one image")
        arrays, geometries = zip(*(self.apply(image) for image in images), strict=True)
        return np.stack(arrays), geometries

    def _window(self, resized: npt.NDArray[np.uint8], geometry: Geometry) -> npt.NDArray[np.uint8]:
        """Cut the input out of the resized photo and pad where it reaches beyond: (H, W, C), RGB or grey."""
        planes = resized.reshape(resized.shape[0], resized.shape[1], -1)
        top, left = geometry.offset
        height, width = self.size
        inside = planes[max(0, top) : top + height, max(0, left) : left + width]
        if inside.shape[:2] == self.size:
            return inside
        x0, y0, x1, y1 = geometry.photo_region
        canvas = np.empty((height, width, planes.shape[2]), dtype=np.uint8)
        canvas[:] = self._padding[::-1] if self.color == "BGR" else self._padding
        canvas[y0:y1, x0:x1] = inside
        return canvas

    def _normalize(self, window: npt.NDArray[np.uint8], out: npt.NDArray[Any]) -> None:
        """Look each pixel up: with 256 levels the formula is a table, exact and faster than arithmetic."""
        code = _CODES[out.dtype.itemsize]  # OpenCV moves whole elements and need not know bfloat16
        table, filled = self._table.view(code), out.view(code)
        window = np.ascontiguousarray(window)
        if self.layout == "NCHW":
            for channel, plane in enumerate(cv2.split(window)):
                cv2.LUT(plane, table[channel], dst=filled[channel])
        else:
            cv2.LUT(window, np.ascontiguousarray(table.T)[None], dst=filled)

    @cached_property
    def _table(self) -> npt.NDArray[Any]:
        """(C, 256): the formula for each channel and grey level, in float64, rounded once to `dtype`."""
        dtype = _numpy_dtype(self.dtype)
        values = self._levels()
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return values.astype(dtype)

    @cached_property
    def _padding(self) -> npt.NDArray[np.uint8]:
        """(C,), in `color`'s order: the grey level that comes nearest to zero."""
        return np.clip(np.rint(np.array(self.mean) / self.scale), 0, 255).astype(np.uint8)

    def _levels(self) -> npt.NDArray[np.float64]:
        pixels = np.arange(256, dtype=np.float64)[None, :] * self.scale
        levels: npt.NDArray[np.float64] = (pixels - np.array(self.mean)[:, None]) / np.array(self.std)[:, None]
        return levels

    def _check_levels(self) -> None:
        if not np.issubdtype(_numpy_dtype(self.dtype), np.integer):
            return
        levels = min(len(np.unique(row)) for row in self._table)
        if levels < _FEWEST_LEVELS:
            raise PreprocessError(
                f"Preprocessing: dtype {self.dtype!r} with scale {self.scale:.6g}, mean "
                f"{_numbers(self.mean)}, std {_numbers(self.std)} rounds 256 grey levels to {levels}; "
                "an integer input takes pixels as they are (preset 'raw')."
            )


_CODES = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}
"""By bytes: a type of OpenCV's whose elements it copies as they are."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "layout": LAYOUTS,
    "color": COLORS,
    "resize": RESIZE_RULES,
    "interpolation": INTERPOLATIONS,
    "dtype": DTYPES,
}

_TYPES: dict[str, str] = {
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
}


def _typed(key: str, value: object) -> object:
    """The JSON value as the field's type; a wrong type names the key and the legal values."""
    kind = _TYPES[key]
    if kind == "text" and isinstance(value, str):
        return value
    if kind == "number" and _is_number(value):
        return _as_float(key, value)
    if isinstance(value, list):
        if kind == "integers" and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return tuple(value)
        if kind == "numbers" and all(map(_is_number, value)):
            return tuple(_as_float(key, item) for item in value)
    expected = {
        "integers": "[height, width] in whole pixels",
        "number": "a number",
        "numbers": "a list of numbers",
    }
    if kind == "text":
        raise _wrong(key, value, "one of " + ", ".join(map(repr, _CHOICES[key])))
    raise _wrong(key, value, expected[kind])


def _as_float(key: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise _wrong(key, "a number of hundreds of digits", "finite numbers") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(key: str, value: object, legal: str) -> PreprocessError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return PreprocessError(f"Preprocessing: key {key!r} is {shown}, and has to be {legal}.")


def _kind(value: object) -> str:
    names = {"list": "a list", "str": "a text", "NoneType": "null", "bool": "true or false"}
    return names.get(type(value).__name__, "a number")


def _numbers(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:.6g}"
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes  # comes with onnx; numpy has no such type of its own

        dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return dtype
    return np.dtype(name)
