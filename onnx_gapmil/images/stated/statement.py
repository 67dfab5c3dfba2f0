"""One thing that one source says of a preprocessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Part = Literal["layout", "color", "size", "values", "resize", "full_scale"]
PARTS: tuple[Part, ...] = ("layout", "color", "size", "values", "resize", "full_scale")
"""What a preprocessing is made of: ``values`` are scale, mean and std; ``resize`` the rule, crop and interpolation."""

#: Means that are ImageNet's, in the order R, G, B: torchvision's on 0..1 and on 0..255, Caffe's and TF-Slim's.
_IMAGENET_MEANS = (
    (0.485, 0.456, 0.406),
    (123.675, 116.28, 103.53),
    (123.68, 116.78, 103.94),
    (123.68, 116.779, 103.939),
    (123.0, 117.0, 104.0),
)


@dataclass(frozen=True)
class Statement:
    """What one source says of one part.

    Attributes:
        part: of the preprocessing.
        fields: of `Preprocess`, by name.
        says: the same for people: ``BGR``, ``pixels from 0 to 255 as they are``.
        source: who says it, for people: ``the metadata key 'Image.BitmapPixelFormat'``.
        by_name: whether its numbers are those of red, green and blue, whatever the order of the channels.
    """

    part: Part
    fields: Mapping[str, Any]
    says: str
    source: str
    by_name: bool = False

    def in_order(self, color: str) -> Statement:
        """The same for channels in an order: numbers of red, green and blue, turned round for BGR."""
        if not self.by_name or color != "BGR":
            return self
        mean, std = tuple(self.fields["mean"])[::-1], tuple(self.fields["std"])[::-1]
        fields = {**self.fields, "mean": mean, "std": std}
        return replace(self, fields=fields, says=said_values(self.fields["scale"], mean, std), by_name=False)


@dataclass
class MetadataReading:
    """What metadata say.

    Attributes:
        statements: each part that a key states; of two that state one part, the first counts.
        notes: what was found and could not be followed, for people.
    """

    statements: list[Statement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, part: Part, fields: Mapping[str, Any], says: str, key: str) -> None:
        """Keep what a key says."""
        self.statements.append(Statement(part, fields, says, f"the metadata key {key!r}"))

    def unread(self, key: str, value: str, why: str = "which cannot be read as numbers") -> None:
        """Note a key that is there and states nothing."""
        self.notes.append(f"The metadata key {key!r} is {value[:40]!r}, {why}; it is not followed.")


def values(
    scale: float, mean: Sequence[float], std: Sequence[float], channels: int
) -> tuple[dict[str, Any], str] | None:
    """Scale, mean and std as fields, one number a channel, and what they make of pixels; None if they do not fit."""
    mean, std = _each(mean, channels), _each(std, channels)
    if not mean or not std or scale == 0 or 0 in std or not all(map(math.isfinite, (scale, *mean, *std))):
        return None
    return {"scale": scale, "mean": mean, "std": std}, said_values(scale, mean, std)


def said_values(scale: float, mean: Sequence[float], std: Sequence[float]) -> str:
    """What values make of pixels, in words where there are any."""
    low, high = span(scale, mean, std)
    if set(mean) == {0.0} and set(std) == {1.0} and scale == 1:
        return "pixels from 0 to 255 as they are"
    if math.isclose(low[0], low[-1], abs_tol=1e-9) and math.isclose(high[0], high[-1], abs_tol=1e-9):
        return f"pixels brought to {low[0]:.6g} to {high[0]:.6g}"
    shown = ", ".join(f"{one:.6g}" for one in mean), ", ".join(f"{one:.6g}" for one in std)
    return f"(pixel * {scale:.6g} - [{shown[0]}]) / [{shown[1]}]"


def span(scale: float, mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """What pixels 0 and 255 become, for each channel."""
    ends = [sorted(((0 * scale - own) / over, (255 * scale - own) / over)) for own, over in zip(mean, std, strict=True)]
    return [low for low, _ in ends], [high for _, high in ends]


def order_of_means(mean: Sequence[float]) -> Literal["RGB", "BGR"] | None:
    """The order of channels that means of three channels are ImageNet's in; None if they are not ImageNet's."""
    for known in _IMAGENET_MEANS:
        for order, means in (("RGB", known), ("BGR", known[::-1])):
            if len(mean) == 3 and all(
                math.isclose(one, other, rel_tol=3e-3) for one, other in zip(mean, means, strict=True)
            ):
                return "RGB" if order == "RGB" else "BGR"
    return None


def _each(numbers: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(numbers) == 1:
        return tuple(numbers) * channels
    return tuple(numbers) if len(numbers) == channels else ()
