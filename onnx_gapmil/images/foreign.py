"""Preprocessing as timm's `config.json` and Hugging Face's `preprocessor_config.json` write it down.

Both leave layout and element type to the framework; these come from the model's input. What has no exact
counterpart here is refused by name rather than approximated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.preprocess import Color, Preprocess

_TIMM_RULES = {"center": "shortest", "squash": "squash", "border": "letterbox"}
_INTERPOLATIONS = {
    "nearest": "nearest-exact",
    "bilinear": "bilinear-antialias",
    "bicubic": "bicubic-antialias",
    "lanczos": "lanczos-antialias",
}
_PILLOW_NAMES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}

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
    """Read timm's pretrained_cfg as `resolve_data_config` and `create_transform` of `timm.data` do for evaluation.

    crop_mode "center" is resize "shortest", "squash" is "squash", "border" is "letterbox"; interpolation is
    Pillow's, bicubic where it is not given.

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
        interpolation = _INTERPOLATIONS.get(config.get("interpolation") or "bicubic")
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


@dataclass(frozen=True, slots=True)
class _Processor:
    """What a class of image processors does where its JSON says nothing (transformers 5.23).

    Attributes:
        square: a `size` that is one number is height and width; otherwise it is the shorter side.
        cropped: `do_center_crop`.
        resample: Pillow's code.
    """

    square: bool
    cropped: bool
    resample: int


_PROCESSORS = {
    "ViT": _Processor(True, False, 2),
    "DeiT": _Processor(True, True, 3),
    "Beit": _Processor(True, False, 3),
    "ConvNext": _Processor(False, False, 3),
    "CLIP": _Processor(False, True, 3),
    "Bit": _Processor(False, True, 3),
    "EfficientNet": _Processor(True, False, 3),
    "MobileNetV1": _Processor(False, True, 2),
    "MobileNetV2": _Processor(False, True, 2),
    "MobileViT": _Processor(False, True, 3),
    "Levit": _Processor(False, True, 3),
    "PoolFormer": _Processor(False, True, 3),
    "Siglip": _Processor(True, False, 3),
    "Pvt": _Processor(True, False, 3),
}


def from_hugging_face(data: Mapping[str, Any], spec: InputSpec) -> Preprocess:
    """Read an image processor's configuration as transformers does on Pillow images.

    What the JSON leaves out is the class's default for the classes of `_PROCESSORS`, and follows from the keys
    that are there for others. Where an uneven margin is cropped, transformers takes the rounded-down half and
    this tool, like torchvision, the rounded one: for one photo in four, a shift by one pixel of the resized photo.

    Raises:
        PreprocessError: a key has a value with no counterpart, such as `do_resize: false`.
    """
    with _Reader("Hugging Face preprocessor config") as read:
        if data.get("do_resize") is False:
            raise read.wrong("do_resize", False, "true: photos come in all sizes")
        kind = _processor_kind(data)
        default = _PROCESSORS.get(kind)
        code = data.get("resample", default.resample if default is not None else 2)
        filter_name = _PILLOW_NAMES.get(code, str(code)) if isinstance(code, int) else str(code)
        if filter_name not in _INTERPOLATIONS:
            raise read.wrong("resample", filter_name, "0 (nearest), 1 (lanczos), 2 (bilinear) or 3 (bicubic)")
        size, rule, crop = _hugging_face_size(data, kind, read)
        mean, std = _hugging_face_normalization(data, kind, read)
        rescaled = data.get("do_rescale", True)
        return _build(
            spec,
            gray=len(mean) == 1,
            bgr=bool(data.get("do_flip_channel_order", kind == "MobileViT")),
            size=size,
            resize=rule,
            crop=crop,
            interpolation=_INTERPOLATIONS[filter_name],
            scale=read.number(data, "rescale_factor", 1 / 255) if rescaled else 1.0,
            mean=mean,
            std=std,
        )


def _processor_kind(data: Mapping[str, Any]) -> str:
    """ "ViT" of ViTImageProcessor, ViTImageProcessorFast, ViTImageProcessorPil and ViTFeatureExtractor."""
    name = str(data.get("image_processor_type") or data.get("feature_extractor_type") or "")
    kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name)
    return {"MobileVit": "MobileViT", "Deit": "DeiT", "BEiT": "Beit", "LeViT": "Levit"}.get(kind, kind)


def _hugging_face_normalization(
    data: Mapping[str, Any], kind: str, read: _Reader
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std, those of the oddities included that are subtracted and divided besides."""
    normalized = data.get("do_normalize", "image_mean" in data) and kind != "MobileViT"  # which never does
    mean = read.numbers(data, "image_mean") if normalized else (0.0,) * 3
    std = read.numbers(data, "image_std") if normalized else (1.0,) * 3
    if data.get("rescale_offset"):  # EfficientNet: pixel * factor - 1, before the mean
        mean = tuple(value + 1.0 for value in mean)
    if data.get(
        "include_top", kind == "EfficientNet"
    ):  # divided by std once more: its std is the root of the usual one
        std = tuple(one * other for one, other in zip(std, read.numbers(data, "image_std"), strict=True))
    return mean, std


def _hugging_face_size(data: Mapping[str, Any], kind: str, read: _Reader) -> tuple[tuple[int, int], str, float]:
    """(height, width) of the input, the resize rule, and the share that the centre crop keeps."""
    default = _PROCESSORS.get(kind)
    size = data.get("size")
    given = data.get("do_center_crop")
    cropped = bool(given if given is not None else default.cropped if default is not None else "crop_size" in data)
    if type(size) is int:  # before sizes were objects
        square = default.square if default is not None else not (cropped or "crop_pct" in data)
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    if not isinstance(size, Mapping):
        raise read.wrong("size", size, "an object with shortest_edge, or with height and width")
    if "shortest_edge" not in size:
        resized = read.side(size, "height"), read.side(size, "width")
        target = _crop_size(data, read) if cropped else resized
        return target, "squash", _share(target, resized, read)
    if "longest_edge" in size:
        raise read.wrong("size", dict(size), "shortest_edge alone: the other side is cropped")
    side = read.side(size, "shortest_edge")
    if kind == "ConvNext" or (kind not in _PROCESSORS and "crop_pct" in data):
        # larger inputs are squashed, smaller ones cropped
        share = read.number(data, "crop_pct", 224 / 256)
        return ((side, side), "squash", 1.0) if side >= 384 else ((side, side), "shortest", share)
    if kind == "Levit":
        side = int(256 / 224 * side)
    if kind == "PoolFormer":
        side = int(side / read.number(data, "crop_pct", 0.9))
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
