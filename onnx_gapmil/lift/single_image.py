"""Tensors of one image whose batch axis of length 1 was squeezed away before the pool: maps (C, H, W), tokens (T, C).

What stands first there are channels or positions, which must not be taken for the images of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.lift.frames import frames_along

if TYPE_CHECKING:
    from onnx_gapmil.lift.lifting import Lifting


def has_no_batch(walk: Lifting, tensor: str, pooled: tuple[int, ...] = ()) -> bool:
    """Whether a vendor's tensor is of one image, and has no axis for it.

    Frames, crops and the members of an ensemble may stand where the batch did. Channels look at one place instead, and
    rows, columns or tokens that are pooled at places that no other axis tells.

    Args:
        walk: the walk.
        tensor: the vendor's tensor.
        pooled: the axes of it that a pool averages, where it is the one that is pooled.
    """
    shape = walk.shape(tensor)
    if walk.trace.batch != 1 or 1 in shape or walk.batch_axis(tensor) != 0:
        return False
    if 0 not in pooled:
        return walk.is_one_place_along(tensor, 0)
    beside = tuple(axis for axis in pooled if axis != 0)
    return walk.holds_places(tensor, 0, beside) and frames_along(walk, tensor, 0) is None


def images_in(walk: Lifting, tensor: str, pooled: tuple[int, ...] = ()) -> int:
    """How many images a vendor's tensor tells apart, in the trace."""
    return 1 if has_no_batch(walk, tensor, pooled) else walk.shape(tensor)[walk.batch_axis(tensor)]
