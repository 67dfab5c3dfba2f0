"""Samples of any depth as levels from 0 to 255, in single precision: 16 bits stay apart up to the network."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError

FullScale: TypeAlias = float | tuple[float, float] | None
"""The stored sample that is 255, or those that are 0 and 255; None for that of the image's type."""

TWELVE_BITS = 4095
"""The highest sample of 12 bits, which X-ray detectors and cameras write into files of 16."""


def scale_ends(dtype: np.dtype[Any], full_scale: FullScale) -> tuple[float, float]:
    """The samples that become 0 and 255.

    Args:
        dtype: of the samples.
        full_scale: what the preprocessing says.

    Raises:
        ImageError: neither it nor the type says it: floats, and integers of more than 16 bits.
    """
    if full_scale is None:
        if dtype not in (np.uint8, np.uint16):
            raise ImageError(
                f'its samples are {dtype.name}, whose full scale is not known: state "full_scale" in the '
                "preprocessing's JSON, as the highest sample or as [lowest, highest]."
            )
        return 0.0, float(np.iinfo(dtype).max)
    low, high = full_scale if isinstance(full_scale, tuple) else (0.0, full_scale)
    return (0.0, 255.0) if dtype == np.uint8 and high > 255 else (low, high)


def to_levels(samples: npt.NDArray[Any], full_scale: FullScale) -> npt.NDArray[np.float32]:
    """Samples as levels from 0 to 255; what lies beyond the full scale is cut off.

    Args:
        samples: of any shape and number type.
        full_scale: see `scale_ends`.

    Returns:
        Single precision, of the same shape.

    Raises:
        ImageError: the full scale is not known, or a sample is no finite number.
    """
    low, high = scale_ends(samples.dtype, full_scale)
    if samples.dtype.kind == "f" and not np.all(np.isfinite(samples)):
        raise ImageError("it holds samples that are no finite numbers; replace them first.")
    wide: npt.NDArray[Any] = samples.astype(np.float64 if samples.dtype.itemsize > 2 else np.float32)
    wide -= low
    wide *= 255.0 / (high - low)
    levels: npt.NDArray[np.float32] = np.clip(wide, 0.0, 255.0).astype(np.float32)
    return levels


def depth_note(samples: npt.NDArray[Any], full_scale: FullScale) -> str:
    """What is to be said of a file of 16 bits that uses 12 of them at the most; "" of all others."""
    if full_scale is not None or samples.dtype != np.uint16 or samples.size == 0:
        return ""
    highest = int(samples.max())
    if highest > TWELVE_BITS:
        return ""
    return (
        f"samples stored with 16 bits or more, none above {highest:,}: if they are of 12 bits, the model sees them 16 "
        'times too dark; state "full_scale": 4095 in the preprocessing.'
    )
