"""What a size leaves over at the image's edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.rewriting.sizing.record import said_size

if TYPE_CHECKING:
    from onnx_gapmil.images.places import Places
    from onnx_gapmil.rewriting.sizing.record import Size

#: Steps are traced in floating point.
_SAME = 1e-3


def edge_note(size: Size, places: Places) -> str:
    """What is to be said of a size that is no multiple of the grid's step; "" of one that is, or of unknown places.

    Args:
        size: (height, width) of the input in pixels.
        places: where the cells look.
    """
    lines = places.rows, places.columns
    if not places.known or None in lines:
        return ""
    steps = [line.step for line in lines if line is not None]
    over = [side % step for side, step in zip(size, steps, strict=True)]
    if all(min(rest, step - rest) <= _SAME * step for rest, step in zip(over, steps, strict=True)):
        return ""
    return (
        f"{said_size(size)} is no multiple of the grid's step of {steps[0]:g}x{steps[1]:g} pixels: its last cells look "
        "partly beyond the image, or leave a part of it out; a multiple has none of that"
    )
