"""What is known of an image that two models see, by which its slices are made: see `onnx_gapmil.data.slices`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.data.slices import columns_of, object_share

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from onnx_gapmil.validation.comparing.sides import Shot


def columns_of_shot(
    shot: Shot, size: tuple[int, int], mask: npt.NDArray[np.bool_] | None
) -> tuple[tuple[str, str], ...]:
    """(column, value) each: what the label file says, the size of the labels' object, and the photo's shape.

    Args:
        shot: the image.
        size: (width, height) of the upright photo.
        mask: of its object; None without one.
    """
    sample = shot.old
    share = None
    if sample is not None:
        named = [box.box for box in sample.boxes if set(box.classes) & set(sample.labels)]
        share = object_share(size, named, float(mask.mean()) if mask is not None else None)
    return columns_of(shot.columns, size, share)
