"""What may be true of a model's preprocessing, in the order in which it is believed when images cannot tell."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx_gapmil.images.geometry import ResizeRule
from onnx_gapmil.images.input_spec import InputSpec, Layout
from onnx_gapmil.images.preprocess import Color, Preprocess
from onnx_gapmil.images.presets import PRESETS
from onnx_gapmil.images.resize import Interpolation

RESIZINGS: tuple[tuple[ResizeRule, float], ...] = (
    ("squash", 1.0),
    ("shortest", 0.875),
    ("shortest", 1.0),
    ("squash", 0.875),
    ("letterbox", 1.0),
)
"""Resize rules and crops tried: the whole photo; torchvision's; CLIP's; Caffe's and TF-Slim's; a detector's."""

TRIED_INTERPOLATIONS: tuple[Interpolation, ...] = (
    "bilinear-antialias",
    "bilinear",
    "bicubic-antialias",
    "bicubic",
    "area",
    "nearest",
    "bilinear-tf1",
)

_COLOUR_PRESETS = ("imagenet", "unit", "inception", "raw", "caffe", "vgg", "openai-clip", "cifar")
_GREY_PRESETS = ("unit", "raw", "inception", "mnist")

# Minus the mean pixel alone: Caffe does it in BGR and TF-Slim in RGB, with the same means.
_ONE_ORDER = ("caffe", "vgg")

_SAME = 1e-3
"""Two normalizations that agree to this share of their range are one: 1/255 is written 0.00392157 too."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One preprocessing that may be the model's.

    Attributes:
        name: of its normalization and colours, such as "imagenet" or "imagenet BGR".
        preprocess: all of it.
    """

    name: str
    preprocess: Preprocess


def normalizations(spec: InputSpec, base: Preprocess) -> list[Candidate]:
    """Colour order x scale, mean and std (x layout where the shape leaves it open); resizing as `base` does.

    The first is `base` itself. Where `base` has a preset's normalization, its own digits are kept.

    Args:
        spec: the model's input, 1 or 3 channels. An integer input takes pixels as they are.
        base: the documented default.
    """
    found: list[Candidate] = []
    for name, preset in _presets(spec).items():
        for color in _colors(name, preset.color):
            made = _with_normalization(base, preset, color)
            same = made.color == base.color and same_normalization(made, base)
            found.append(Candidate(_name(name, preset.color, color), base if same else made))
    if all(candidate.preprocess != base for candidate in found):
        found.append(Candidate("as given", base))
    if spec.layout_is_ambiguous():
        found += [replace(candidate, preprocess=_other_layout(candidate.preprocess, spec)) for candidate in found]
    return sorted(found, key=lambda candidate: candidate.preprocess != base)


def resizings(chosen: Candidate, spec: InputSpec, *, base_is_known: bool) -> list[Candidate]:
    """Resize rules for a normalization that is settled, `chosen` among them.

    Args:
        chosen: resized as the default does.
        spec: the model's input.
        base_is_known: whether somebody stated the default. If not, the preset that was found to be the right
            one says how its photos are resized, and its rule comes first.
    """
    rules = [replace(chosen.preprocess, resize=rule, crop=crop) for rule, crop in RESIZINGS]
    preset = PRESETS[chosen.name](spec) if chosen.name in PRESETS and not base_is_known else chosen.preprocess
    own = replace(chosen.preprocess, resize=preset.resize, crop=preset.crop, interpolation=preset.interpolation)
    return _distinct(chosen, [own, chosen.preprocess, *rules])


def interpolations(chosen: Candidate) -> list[Candidate]:
    """`chosen`, then the other rules of `TRIED_INTERPOLATIONS`."""
    others = [replace(chosen.preprocess, interpolation=kind) for kind in TRIED_INTERPOLATIONS]
    return _distinct(chosen, [chosen.preprocess, *others])


def same_normalization(one: Preprocess, other: Preprocess) -> bool:
    """Whether both turn each grey level into the same number, but for rounding in how they are written."""
    pairs = zip(_ends(one), _ends(other), strict=True)
    return all(
        max(abs(black - other_black), abs(white - other_white)) <= _SAME * abs(white - black)
        for (black, white), (other_black, other_white) in pairs
    )


def _ends(preprocess: Preprocess) -> list[tuple[float, float]]:
    """What black and white become in each channel, in RGB order."""
    ends = [
        (-mean / std, (255 * preprocess.scale - mean) / std)
        for mean, std in zip(preprocess.mean, preprocess.std, strict=True)
    ]
    return ends[::-1] if preprocess.color == "BGR" else ends


def _presets(spec: InputSpec) -> dict[str, Preprocess]:
    if not spec.dtype.startswith(("float", "bfloat")):
        return {"raw": PRESETS["raw"](spec)}
    names = _COLOUR_PRESETS if spec.channels() == 3 else _GREY_PRESETS
    return {name: PRESETS[name](spec) for name in names}


def _colors(name: str, color: Color) -> tuple[Color, ...]:
    if color == "GRAY" or name in _ONE_ORDER:
        return (color,)
    return ("RGB", "BGR")


def _with_normalization(base: Preprocess, preset: Preprocess, color: Color) -> Preprocess:
    step = 1 if color == preset.color else -1
    return replace(
        base, color=color, scale=preset.scale, mean=preset.mean[::step], std=preset.std[::step], dtype=preset.dtype
    )


def _name(name: str, usual: Color, color: Color) -> str:
    return name if color == usual else f"{name} {color}"


def _other_layout(preprocess: Preprocess, spec: InputSpec) -> Preprocess:
    """The same under the other layout; the axes that are then height and width give the size."""
    layout: Layout = "NHWC" if preprocess.layout == "NCHW" else "NCHW"
    first = 2 if layout == "NCHW" else 1
    height, width = spec.shape[first], spec.shape[first + 1]
    side = max(preprocess.size)  # where the shape leaves it open
    return replace(preprocess, layout=layout, size=(height or side, width or side))


def _distinct(chosen: Candidate, made: list[Preprocess]) -> list[Candidate]:
    return [Candidate(chosen.name, preprocess) for preprocess in dict.fromkeys(made)]
