"""Which values an input takes, judged by what the graph's first nodes do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from onnx_gapmil.images.stated.statement import values

if TYPE_CHECKING:
    import numpy.typing as npt

    from onnx_gapmil.images.input_spec import InputSpec
    from onnx_gapmil.images.stated.channels import Channels

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

#: What is subtracted from pixels is more than this; from 0..1 at most 1, from -1..1 nothing or -1. Layers that were
#: learned shift normalized images by a few units.
_MEAN_OF_PIXELS = 10.0
#: What pixels are divided by is more than this: 255, 127.5, 58; 0..1 is divided by less than 1.
_STD_OF_PIXELS = 10.0
#: Deviations of 0..1 are less, unless all channels have the same.
_STD_OF_UNIT = 0.6
#: Mean and deviation as shares of the range, that a convolution may state; one that was learned has others.
_CONVENTIONS = (
    ((0.0,) * 3, (1.0,) * 3),
    ((0.5,) * 3, (0.5,) * 3),
    ((0.0,) * 3, (1 / 255,) * 3),  # to 0..255
    (IMAGENET_MEAN, IMAGENET_STD),
    (IMAGENET_MEAN, (1 / 255,) * 3),  # Caffe's means
    (IMAGENET_MEAN, (1 / (255 * 0.017),) * 3),  # and MobileNet's factor there
    (CLIP_MEAN, CLIP_STD),
)
#: Deviations of an image's channels are of one size; factors that were learned are not.
_LARGEST_SPREAD = 2.0
#: Beyond it the input takes samples of more than 8 bits: 65535 or 4095.
_STD_OF_BYTES = 1000.0
_FULL_SCALES = (1023.0, 4095.0, 16383.0, 65535.0)
#: A calibrated range agrees with a convention's to this share of it: rounding of 8 bits, and photos without extremes.
_CALIBRATED = 0.015


class Judged(NamedTuple):
    """Values for the caller.

    Attributes:
        fields: of `Preprocess`.
        says: what they make of pixels.
        why: what tells it; "" where the nodes themselves do.
        by_name: whether the numbers are those of red, green and blue, whatever the order of the channels.
    """

    fields: dict[str, Any]
    says: str
    why: str
    by_name: bool = False


def judged_range(found: Channels, spec: InputSpec) -> Judged | None:
    """Scale, mean and std for the caller; None where the first nodes leave it open.

    Args:
        found: what they make of the input.
        spec: the input; bytes are pixels unless a quantizer gives them another meaning.
    """
    if not np.all(np.isfinite(found.scale)) or np.any(found.scale == 0):
        return None
    if not spec.dtype.startswith(("float", "bfloat")):
        return _of_integers(found, spec)
    channels = spec.channels()
    if _is_transform_input(found):
        # Each channel of the network is turned by its own color's numbers, so its place in the input is known.
        mean, std = (
            [numbers[found.source.index(own)] for own in range(3)] for numbers in (IMAGENET_MEAN, IMAGENET_STD)
        )
        made = values(1 / 255, mean, std, channels)
        return Judged(*made, "torchvision's transform_input, which takes ImageNet's normalization") if made else None
    kind = _by_numbers(found)
    if kind is not None and (not found.weighted or _is_convention(found, kind)):
        return _made(kind, channels)
    return _by_limits(found, channels)


def _by_numbers(found: Channels) -> tuple[float, float] | None:
    """What pixels 0 and 255 are to become: by the size of what is subtracted and of what is divided by."""
    if found.measured is not None:  # learned of images that were normalized already, or not: both have small means
        return (0.0, 255.0) if _are_means(found.measured, 255.0, _MEAN_OF_PIXELS) else None
    means, divided = found.means, np.abs(1 / found.scale)
    uniform = np.allclose(divided, divided[0], rtol=1e-3)
    largest = float(divided.max())
    if not _are_divisors(found):
        return None
    if largest > _STD_OF_BYTES:
        full = next((full for full in _FULL_SCALES if _near_any(largest, (full, full / 2, (full + 1) / 2))), None)
        return (0.0, full) if full is not None and _are_means(means, full) else None
    if largest > _STD_OF_PIXELS:
        return (0.0, 255.0) if _are_means(means, 255.0) else None
    if float(np.abs(means).max()) > 1.5:
        return (0.0, 255.0) if uniform and _are_means(means, 255.0, _MEAN_OF_PIXELS) else None
    if np.allclose(means, -1.0, atol=1e-3):
        return (-1.0, 1.0) if uniform else None
    if float(means.min()) > 0 and float(means.max()) <= 1 and largest <= (1.01 if uniform else _STD_OF_UNIT):
        return 0.0, 1.0
    if np.allclose(means, 0.0, atol=1e-6) and np.allclose(found.scale, 255.0, rtol=1e-2):
        return 0.0, 1.0
    return None


def _is_convention(found: Channels, kind: tuple[float, float]) -> bool:
    """Whether the numbers are some that everybody uses, in either order of the colors."""
    low, width = kind[0], kind[1] - kind[0]
    count = len(found.source)
    means, divided = (found.means - low) / width, np.abs(1 / found.scale) / width
    return count <= 3 and any(
        np.allclose(means, mean[::way][:count], atol=2e-3) and np.allclose(divided, std[::way][:count], rtol=5e-3)
        for mean, std in _CONVENTIONS
        for way in (1, -1)
    )


def _are_divisors(found: Channels) -> bool:
    """Whether a normalization divides so: all channels with one sign, by deviations that are of one size."""
    divided = np.abs(found.scale)
    one_sign = bool(np.all(found.scale > 0) or np.all(found.scale < 0))
    return one_sign and float(divided.max()) <= _LARGEST_SPREAD * float(divided.min())


def _are_means(means: npt.NDArray[np.float64], full: float, least: float = 0.0) -> bool:
    """Whether they are means of samples from 0 to a full scale: all of them, not the largest alone."""
    room = 1e-3 * full
    return float(means.min()) >= (least or -room) and float(means.max()) <= full + room


def _by_limits(found: Channels, channels: int) -> Judged | None:
    """By the range that a quantizer was calibrated to, or that a Clip lets through."""
    if found.limits is None:
        return None
    low, high = (float(ends[0]) for ends in found.limits)
    why = "whose range it is"
    for kind in ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)):
        if _is_range((low, high), kind):
            fields, says = _made(kind, channels)[:2]
            return Judged(fields, says, why)
    if channels != 3:
        return None
    for name, mean, std in (("ImageNet's", IMAGENET_MEAN, IMAGENET_STD), ("CLIP's", CLIP_MEAN, CLIP_STD)):
        ends = (
            [(0 - m) / s for m, s in zip(mean, std, strict=True)],
            [(1 - m) / s for m, s in zip(mean, std, strict=True)],
        )
        if _is_range((low, high), (min(ends[0]), max(ends[1]))):
            made = values(1 / 255, mean, std, channels)
            return Judged(*made, f"whose range is that of {name} normalization", by_name=True) if made else None
    return None


def _of_integers(found: Channels, spec: InputSpec) -> Judged | None:
    """Integers are pixels as they are stored, where what they stand for is one of the usual ranges."""
    offset = 128.0 if spec.dtype == "int8" else 0.0
    if spec.dtype not in ("uint8", "int8"):
        return None
    low, high = -offset * found.scale + found.shift, (255.0 - offset) * found.scale + found.shift
    plain = found.steps == () or not any("DequantizeLinear" in step for step in found.steps)
    usual = any(
        _is_range((float(low.min()), float(high.max())), kind, 0.03) for kind in ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
    )
    if (not plain and not usual) or (plain and spec.dtype == "int8" and not usual):
        return None
    made = values(1.0, (offset,), (1.0,), spec.channels())
    return Judged(*made, "") if made else None


def _made(kind: tuple[float, float], channels: int) -> Judged:
    """The formula that brings pixels from 0..255 to a range."""
    low, high = kind
    scale = (high - low) / 255
    made = values(scale, (0.0 - low,), (1.0,), channels)
    if made is None:
        raise ValueError(f"{kind} is no range")
    return Judged(*made, "")


def _is_range(found: tuple[float, float], kind: tuple[float, float], share: float = _CALIBRATED) -> bool:
    room = share * (kind[1] - kind[0])
    return abs(found[0] - kind[0]) <= room and abs(found[1] - kind[1]) <= room


def _near_any(number: float, others: tuple[float, ...]) -> bool:
    return any(abs(number - other) <= 0.01 * other for other in others)


def _is_transform_input(found: Channels) -> bool:
    """GoogLeNet and Inception v3 of torchvision turn ImageNet's normalization into mean 0.5, std 0.5 by themselves."""
    if len(found.scale) != 3 or set(found.source) != {0, 1, 2}:
        return False
    scale = np.array(IMAGENET_STD) / 0.5
    shift: npt.NDArray[np.float64] = (np.array(IMAGENET_MEAN) - 0.5) / 0.5
    return bool(np.allclose(found.scale, scale, atol=1e-4) and np.allclose(found.shift, shift, atol=1e-4))
