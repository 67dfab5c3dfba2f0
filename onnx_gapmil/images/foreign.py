"""Preprocessing as timm's `config.json` and Hugging Face's `preprocessor_config.json` write it down.

Both leave layout and element type to the framework; these come from the model's input. What has no exact
counterpart here is refused by name rather than approximated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.preprocess import Color, Preprocess

_TIMM_RULES = {"center": "shortest", "squash": "squash", "border": "letterbox"}
_INTERPOLATIONS = {"bilinear": "bilinear-antialias", "bicubic": "bicubic-antialias"}
_PILLOW_CODES = {2: "bilinear", 3: "bicubic"}
_PILLOW_NAMES = {0: "nearest", 1: "lanczos", 4: "box", 5: "hamming"}

_HF_MARKS = ("image_processor_type", "feature_extractor_type", "do_normalize", "do_resize", "image_mean")


def is_timm(data: object) -> bool:
    """Whether parsed JSON is timm's `config.json` (or its older form, the pretrained_cfg alone)."""
    return isinstance(data, Mapping) and (
        isinstance(data.get("pretrained_cfg"), Mapping) or ("input_size" in data and "mean" in data)
    )


def is_hugging_face(data: object) -> bool:
    """Whether parsed JSON is a Hugging Face image processor's configuration."""
    return isinstance(data, Mapping) and any(mark in data for mark in _HF_MARKS)


def from_timm(data: Mapping[str, Any], spec: InputSpec) -> Preprocess:
    """Read timm's pretrained_cfg as `timm.data.create_transform` does for evaluation.

    crop_mode "center" is resize "shortest", "squash" is "squash", "border" is "letterbox"; interpolation is
    Pillow's.

    Raises:
        PreprocessError: a key is missing, or has a value with no counterpart.
    """
    nested = data.get("pretrained_cfg")
    config = nested if isinstance(nested, Mapping) else data
    with _Reader("timm config") as read:
        channels, height, width = read.integers(config, "input_size", 3)
        rule = _TIMM_RULES.get(config.get("crop_mode") or "center")
        if rule is None:
            raise read.wrong("crop_mode", config.get("crop_mode"), ", ".join(_TIMM_RULES))
        interpolation = _INTERPOLATIONS.get(config.get("interpolation", "bilinear"))
        if interpolation is None:
            raise read.wrong("interpolation", config.get("interpolation"), ", ".join(_INTERPOLATIONS))
        if channels not in (1, 3):
            raise read.wrong("input_size", [channels, height, width], "1 or 3 channels first")
        return _build(
            spec,
            gray=channels == 1,
            size=(height, width),
            resize=rule,
            crop=read.number(config, "crop_pct", 0.875),
            interpolation=interpolation,
            scale=1 / 255,
            mean=read.numbers(config, "mean"),
            std=read.numbers(config, "std"),
        )


def from_hugging_face(data: Mapping[str, Any], spec: InputSpec) -> Preprocess:
    """Read an image processor's configuration (ViT, ConvNeXt, CLIP, BiT, LeViT, EfficientNet, ...).

    Raises:
        PreprocessError: a key has a value with no counterpart, such as `do_resize: false`.
    """
    with _Reader("Hugging Face preprocessor config") as read:
        if data.get("do_resize") is False:
            raise read.wrong("do_resize", False, "true: photos come in all sizes")
        code = data.get("resample", 2)
        if code not in _PILLOW_CODES:
            raise read.wrong("resample", _PILLOW_NAMES.get(code, code), "2 (bilinear) or 3 (bicubic)")
        size, rule, crop = _hugging_face_size(data, read)
        normalized = data.get("do_normalize", "image_mean" in data)
        mean = read.numbers(data, "image_mean") if normalized else (0.0,) * 3
        std = read.numbers(data, "image_std") if normalized else (1.0,) * 3
        if data.get("rescale_offset"):  # EfficientNet: pixel * factor - 1, before the mean
            mean = tuple(value + 1.0 for value in mean)
        rescaled = data.get("do_rescale", True)
        return _build(
            spec,
            gray=len(mean) == 1,
            bgr=bool(data.get("do_flip_channel_order")),
            size=size,
            resize=rule,
            crop=crop,
            interpolation=_INTERPOLATIONS[_PILLOW_CODES[code]],
            scale=read.number(data, "rescale_factor", 1 / 255) if rescaled else 1.0,
            mean=mean,
            std=std,
        )


def _hugging_face_size(data: Mapping[str, Any], read: _Reader) -> tuple[tuple[int, int], str, float]:
    """(height, width) of the input, the resize rule, and the share that the centre crop keeps."""
    kind = str(data.get("image_processor_type") or data.get("feature_extractor_type") or "")
    size = data.get("size")
    cropped = bool(data.get("do_center_crop", "crop_size" in data))
    if isinstance(size, int):  # before sizes were objects
        size = {"shortest_edge": size} if cropped or "crop_pct" in data else {"height": size, "width": size}
    if not isinstance(size, Mapping):
        raise read.wrong("size", size, "an object with shortest_edge, or with height and width")
    if "shortest_edge" not in size:
        resized = read.side(size, "height"), read.side(size, "width")
        target = _crop_size(data, read) if cropped else resized
        return target, "squash", _share(target, resized, read)
    side = read.side(size, "shortest_edge")
    if kind.startswith("ConvNext") or "crop_pct" in data:  # larger inputs are squashed, smaller ones cropped
        share = read.number(data, "crop_pct", 224 / 256)
        return ((side, side), "squash", 1.0) if side >= 384 else ((side, side), "shortest", share)
    if kind.startswith("Levit"):
        side = int(256 / 224 * side)
    if not cropped:
        raise read.wrong("do_center_crop", False, "true where size is a shortest_edge: inputs have one size")
    target = _crop_size(data, read)
    return target, "shortest", _share(target, (side, side), read)


def _crop_size(data: Mapping[str, Any], read: _Reader) -> tuple[int, int]:
    crop = data.get("crop_size", data.get("size"))
    if isinstance(crop, Mapping):
        return read.side(crop, "height"), read.side(crop, "width")
    if isinstance(crop, int) and not isinstance(crop, bool):
        return crop, crop
    raise read.wrong("crop_size", crop, "a whole number, or an object with height and width")


def _share(target: tuple[int, int], resized: tuple[int, int], read: _Reader) -> float:
    """The crop for which `floor(target / crop)` is exactly `resized`, on both sides."""
    crop = target[0] / resized[0]
    for _ in range(4):  # division may round such that floor() falls one short
        if 0 < crop <= 1 and (math.floor(target[0] / crop), math.floor(target[1] / crop)) == resized:
            return crop
        crop = math.nextafter(crop, 0.0)
    raise read.wrong("crop_size", list(target), f"in proportion to the resized {list(resized)}, and no larger")


def _build(spec: InputSpec, *, gray: bool, bgr: bool = False, **fields: Any) -> Preprocess:
    color: Color = "GRAY" if gray else "BGR" if bgr else "RGB"
    return Preprocess(layout=spec.layout(), color=color, dtype=spec.dtype, **fields)


class _Reader:
    """Typed access to foreign JSON; every PreprocessError in its scope begins with the format's name."""

    def __init__(self, form: str) -> None:
        self._form = form

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, PreprocessError) and not str(error).startswith(self._form):
            raise PreprocessError(f"{self._form}: {error}") from error

    def wrong(self, key: str, value: object, legal: str) -> PreprocessError:
        return PreprocessError(
            f"{self._form}: {key!r} is {str(value)[:60]!r}, which cannot be followed (legal: {legal}); "
            "write the preprocessing as this tool's own JSON."
        )

    def side(self, data: Mapping[str, Any], key: str) -> int:
        value = data.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(key, value, "a whole number of pixels")
        return value

    def integers(self, data: Mapping[str, Any], key: str, count: int) -> tuple[int, ...]:
        values = data.get(key)
        if not isinstance(values, list) or len(values) != count or not all(type(v) is int for v in values):
            raise self.wrong(key, values, f"a list of {count} whole numbers")
        return tuple(values)

    def number(self, data: Mapping[str, Any], key: str, default: float) -> float:
        value = data.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, value, "a number")
        return float(value)

    def numbers(self, data: Mapping[str, Any], key: str) -> tuple[float, ...]:
        values = data.get(key)
        if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
            raise self.wrong(key, values, "a list of numbers")
        return tuple(float(v) for v in values)
