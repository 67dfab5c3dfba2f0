"""JPEG files by TurboJPEG's own interface, where that gives Pillow's very pixels: the same library without the detours.

Pillow decodes a JPEG by libjpeg-turbo in strips, through a buffer of four bytes a pixel, and packs the result anew;
simplejpeg decodes into the array at once, in two thirds of the time. Both have libjpeg-turbo's accurate DCT and smooth
upsampling, but each has its own copy of it, and a version may change a rounding. So before the first file is read by
it, a few small JPEGs of all samplings are decoded by both: if one pixel differs, Pillow decodes all files.
"""

from __future__ import annotations

import functools
import importlib
import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def decode_rgb(data: bytes) -> npt.NDArray[np.uint8] | None:
    """The pixels of a JPEG of three colours, as Pillow decodes them.

    Args:
        data: the file's bytes; the caller has looked at its header and knows that Pillow calls it ``RGB``.

    Returns:
        (H, W, 3) RGB uint8, as it is stored (not turned); None where only Pillow will do: the library is not there or
        differs from Pillow's, or the file is damaged, of which Pillow says how.
    """
    decoder = _trusted()
    return None if decoder is None else _decoded(decoder, data)


def decode_reduced(data: bytes, size: tuple[int, int], part: int) -> npt.NDArray[np.uint8] | None:
    """The pixels at a half, a quarter or an eighth of each side, by decoding less of each block (DCT scaling).

    Args:
        data: the file's bytes; as for `decode_rgb`.
        size: (W, H) as it is stored.
        part: 2, 4 or 8.

    Returns:
        (ceil(H / part), ceil(W / part), 3) RGB uint8, as it is stored; None where the file is damaged.
    """
    width, height = size
    decoder = _trusted()
    if decoder is not None:
        return _decoded(decoder, data, min_height=-(-height // part), min_width=-(-width // part))
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (width // part, height // part))
            return np.array(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError):
        return None


def _decoded(decoder: ModuleType, data: bytes, **least: int) -> npt.NDArray[np.uint8] | None:
    try:
        pixels: npt.NDArray[np.uint8] = decoder.decode_jpeg(data, colorspace="RGB", strict=True, **least)
    except (ValueError, MemoryError, OSError):
        return None
    return pixels


@functools.cache
def _trusted() -> ModuleType | None:
    """simplejpeg, if it is there and gives Pillow's pixels."""
    try:
        decoder = importlib.import_module("simplejpeg")
    except ImportError:  # there is no wheel for every machine
        return None
    for data in _samples():
        found = _decoded(decoder, data)
        if found is None or not np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)))):
            return None
    return decoder


def _samples() -> Iterator[bytes]:
    """JPEGs of noise: each sampling of colours, sides that are no multiples of a block, baseline and progressive."""
    noise = np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for sampling in (0, 1, 2):
        for settings in ({"quality": 90}, {"quality": 60, "progressive": True}):
            stream = io.BytesIO()
            image.save(stream, "JPEG", subsampling=sampling, **settings)
            yield stream.getvalue()
