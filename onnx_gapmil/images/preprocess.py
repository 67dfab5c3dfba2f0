"""`Preprocess`: how a photo becomes the network's input; a small, printable, serializable value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError, PreprocessError
from onnx_gapmil.files.wording import count
from onnx_gapmil.images.geometry import Geometry, ResizeRule
from onnx_gapmil.images.input_spec import InputSpec, Layout
from onnx_gapmil.images.keys import CHOICES, COLORS, REQUIRED, RESIZE_DEFAULTS, TYPES, Color, kind_of, typed, wrong
from onnx_gapmil.images.levels import FullScale, scale_ends, to_levels
from onnx_gapmil.images.resize import Interpolation, resize, resize_levels

__all__ = ["COLORS", "Color", "InputSpec", "Preprocess"]

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
        full_scale: which stored samples become 0 and 255: the highest, or [lowest, highest] (a window); what lies
            beyond is cut off. None is that of the image's type: 255 of 8 bits, 65535 of 16. An image of 8 bits holds
            none above 255, so that a higher one is 255 for it.

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
    full_scale: FullScale = None

    def __post_init__(self) -> None:
        for key, legal in CHOICES.items():
            if getattr(self, key) not in legal:
                raise wrong(key, getattr(self, key), "one of " + ", ".join(map(repr, legal)))
        if len(self.size) != 2 or not all(1 <= side <= MAX_SIDE for side in self.size):
            raise wrong("size", list(self.size), f"[height, width], each in 1..{MAX_SIDE}")
        if not 0.0 < self.crop <= 1.0 or max(self.size) / self.crop > 2 * MAX_SIDE:
            raise wrong("crop", self.crop, "a number above 0 and up to 1, such as 0.875")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise wrong("scale", self.scale, "a finite number other than 0, such as 0.00392157 (1/255)")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise wrong(key, list(values), f"{count(self.channels, 'finite number')}, for color {self.color!r}")
        if 0 in self.std:
            raise wrong("std", list(self.std), "numbers other than 0")
        if self.full_scale is not None:
            low, high = _ends(self.full_scale)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise wrong("full_scale", self.full_scale, "a number above 0 such as 4095, or [lowest, highest]")
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
        """Read the JSON object that `to_json` writes: no conversions, and no keys but its own.

        Layout, color, size, scale and dtype are required. The others default to the whole photo squashed, bilinear,
        mean 0, std 1, and the full scale of the image's type.

        Args:
            data: the parsed JSON.

        Raises:
            PreprocessError: naming the key, what it held and what it may hold.
        """
        if not isinstance(data, Mapping):
            raise PreprocessError(f"Preprocessing: a JSON object was expected, not {kind_of(data)}.")
        unknown = [repr(str(key)) for key in data if key not in TYPES]
        if unknown:
            keys = "unknown key" + ("s" if len(unknown) > 1 else "")
            raise PreprocessError(f"Preprocessing: {keys} {', '.join(unknown[:8])}; the keys are {', '.join(TYPES)}.")
        missing = [repr(key) for key in REQUIRED if key not in data]
        if missing:
            keys, are = ("key", "is") if len(missing) == 1 else ("keys", "are")
            raise PreprocessError(
                f"Preprocessing: {keys} {', '.join(missing)} {are} missing; needed are {', '.join(REQUIRED)}."
            )
        fields: dict[str, Any] = {key: typed(key, data[key]) for key in TYPES if key in data}
        count = 1 if fields["color"] == "GRAY" else 3
        defaults: dict[str, Any] = {**RESIZE_DEFAULTS, "mean": (0.0,) * count, "std": (1.0,) * count}
        return cls(**(defaults | fields))

    def to_json(self) -> dict[str, Any]:
        """The value as plain JSON types, in the documented order of keys; no full scale that is the image type's."""
        found = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return {key: value for key, value in found.items() if value is not None}

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
        full = ""
        if self.full_scale is not None:
            low, high = _ends(self.full_scale)
            full = f"; samples from {low:.6g} to {high:.6g} are pixels from 0 to 255"
        return (
            f"{self.layout} {self.dtype} {self.color} {width}x{height} (width x height); {steps}; "
            f"{self.interpolation}; (pixel * {self.scale:.6g} - {mean}) / {std}{full}"
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

    def apply(self, image: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Geometry]:
        """Prepare one photo.

        Args:
            image: (H, W, 3), RGB, uint8; or samples of more bits, (H, W) or (H, W, 3), as `read_samples` gives them.

        Returns:
            The input without its batch axis, (C, H, W) or (H, W, C) as `layout` says, C-contiguous, in
            `dtype`; and where it lies in the photo.

        Raises:
            ImageError: the photo is too long and thin to be resized; or the full scale of its samples is not known.
        """
        array = np.empty(self.input_shape, self.input_dtype)
        return array, self.apply_into(image, array)

    def least_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) below which a photo is not to be decoded: twice what it is then made small to.

        Args:
            image_size: (H, W) of the photo.
        """
        try:
            height, width = Geometry.plan(image_size, self.size, self.resize, self.crop).resized_size
        except ImageError:  # whoever prepares it says what is wrong
            return image_size
        return 2 * height, 2 * width

    def apply_into(
        self, image: npt.NDArray[Any], out: npt.NDArray[Any], size: tuple[int, int] | None = None
    ) -> Geometry:
        """Prepare one photo as `apply` does, into an array that is there already, such as a row of a batch.

        Args:
            image: as for `apply`.
            out: of `input_shape` and `input_dtype`, C-contiguous; its content is overwritten.
            size: (H, W) of the photo itself, where ``image`` was decoded smaller; that of ``image`` if None.

        Raises:
            ImageError: as `apply`; `out` is as it was.
        """
        if image.dtype.kind not in "iuf" or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
            raise TypeError(f"an image is (H, W, 3) uint8, or samples of more bits, not {image.shape} {image.dtype}")
        if 0 in image.shape:
            raise TypeError(f"an image has pixels, and this one is {image.shape}")
        if image.dtype != np.uint8 or image.ndim != 3 or self._is_window_of_bytes:
            return self._apply_samples(image, out, size)
        geometry = Geometry.plan(size or (image.shape[0], image.shape[1]), self.size, self.resize, self.crop)
        coloured = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if self.color == "GRAY" else image
        window = self._window(resize(coloured, geometry.resized_size, self.interpolation), geometry)
        if self.color == "BGR":
            window = window[:, :, ::-1]
        self._normalize(window, out)
        return geometry

    def prepare(
        self, image: npt.NDArray[Any], out: npt.NDArray[Any], path: object, size: tuple[int, int] | None = None
    ) -> Geometry:
        """`apply_into`, with errors that name the file.

        Raises:
            ImageError: as `apply`, with the file's name.
        """
        try:
            return self.apply_into(image, out, size)
        except ImageError as error:
            raise ImageError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def _apply_samples(self, image: npt.NDArray[Any], out: npt.NDArray[Any], size: tuple[int, int] | None) -> Geometry:
        """Samples of any depth: in single precision up to the network, nothing rounded on the way."""
        geometry = Geometry.plan(size or (image.shape[0], image.shape[1]), self.size, self.resize, self.crop)
        levels = to_levels(image, self.full_scale)
        if self.color == "GRAY" and levels.ndim == 3:
            levels = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)
        planes = resize_levels(levels, geometry.resized_size, self.interpolation)
        window = self._window(planes, geometry)
        if self.color == "BGR":
            window = window[:, :, ::-1]
        values = (window.astype(np.float64) * self.scale - np.array(self.mean)) / np.array(self.std)
        dtype = out.dtype
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        out[...] = (values.transpose(2, 0, 1) if self.layout == "NCHW" else values).astype(dtype)
        return geometry

    def shown(self, image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The photo as people see it, by the same full scale: (H, W, 3) RGB uint8."""
        if image.dtype == np.uint8 and image.ndim == 3 and not self._is_window_of_bytes:
            return image
        levels = np.rint(to_levels(image, self.full_scale)).astype(np.uint8)
        return np.repeat(levels[:, :, None], 3, axis=2) if levels.ndim == 2 else levels

    @property
    def _is_window_of_bytes(self) -> bool:
        """Whether images of 8 bits, too, have a full scale of their own."""
        return self.full_scale is not None and scale_ends(np.dtype(np.uint8), self.full_scale) != (0.0, 255.0)

    def apply_batch(self, images: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], tuple[Geometry, ...]]:
        """Prepare several photos, of any sizes: (N, C, H, W) or (N, H, W, C), and N geometries, N >= 1."""
        if not images:
            raise ValueError("a batch needs at least one image")
        arrays, geometries = zip(*(self.apply(image) for image in images), strict=True)
        return np.stack(arrays), geometries

    def _window(self, resized: npt.NDArray[Any], geometry: Geometry) -> npt.NDArray[Any]:
        """Cut the input out of the resized photo and pad where it reaches beyond: (H, W, C), RGB or grey."""
        planes = resized.reshape(resized.shape[0], resized.shape[1], -1)
        if planes.shape[2] < self.channels:  # a grey picture for a model of three channels
            planes = np.repeat(planes, self.channels, axis=2)
        top, left = geometry.offset
        height, width = self.size
        inside = planes[max(0, top) : top + height, max(0, left) : left + width]
        if inside.shape[:2] == self.size:
            return inside
        x0, y0, x1, y1 = geometry.photo_region
        canvas = np.empty((height, width, planes.shape[2]), dtype=planes.dtype)
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


def _ends(full_scale: float | tuple[float, float]) -> tuple[float, float]:
    return full_scale if isinstance(full_scale, tuple) else (0.0, full_scale)


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
