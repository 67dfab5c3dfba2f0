"""Masks of objects: PNG files of the size of their images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Blob, Source
from onnx_gapmil.files.reading import read_bytes

VOID = 255
"""The index of a border that belongs to no object, in Pascal VOC's palette images."""

MAX_FILE_BYTES = 2**28

_LOSSLESS = ("PNG", "BMP", "DIB", "GIF", "TIFF", "PPM")
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, Warning)


def read_mask(path: str | Source, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Read the mask of an image's object or objects.

    - Palette images (Pascal VOC): every index but 0 is an object; 255 is the void border, which is none.
    - Two levels of grey, or one bit: the higher level is the object, be it 1 or 255.
    - Several levels of grey: label maps (all below 128) mean that every level but 0 is an object; in masks with
      soft edges what is above 127 is the object. Where levels from 1 to 127 cover more than those above, neither
      reading is safe, and the mask is refused.
    - Colour: whatever is not black is an object; VOC's void colour (224, 224, 192) is none.

    Args:
        path: a lossless image file; JPEG smears masks and is refused.
        size: height and width of the upright image that it belongs to.

    Returns:
        Array of shape (H, W), True in objects. It may be False everywhere.

    Raises:
        DataError: the file is missing, damaged, lossy, transparent, of another size, or cannot be told.
    """
    file = path if isinstance(path, Path | Blob) else Path(path)
    data = read_bytes(file, DataError, expected="a mask", limit=MAX_FILE_BYTES)
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check(file, image, size)
            image.load()
            return _objects(image, file)
    except (Image.DecompressionBombError, *_BROKEN) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"{file}: the mask is damaged, or no image ({reason}).") from error


def _check(file: Source, image: Image.Image, size: tuple[int, int]) -> None:
    if image.format not in _LOSSLESS:
        raise DataError(f"{file}: a mask in {image.format} is lossy, so that its edges are smeared; save it as PNG.")
    height, width = size
    if image.size != (width, height):
        raise DataError(
            f"{file}: the mask is {image.size[0]} x {image.size[1]} and its image {width} x {height} (width x height); "
            f"they have to be the same."
        )


def _objects(image: Image.Image, file: Source) -> npt.NDArray[np.bool_]:
    if image.mode == "P":
        index = np.asarray(image)
        found: npt.NDArray[np.bool_] = (index != 0) & (index != VOID)
        return found
    if image.mode == "1":
        return np.asarray(image).astype(np.bool_)
    if image.mode in {"RGB", "RGBA", "LA"}:
        return _colour(np.asarray(image), file)
    if image.mode == "L" or image.mode.startswith("I"):
        return _grey(np.asarray(image).astype(np.int64), file)
    raise DataError(f"{file}: the mask has pixels of kind {image.mode!r}; save it as 8-bit grey or palette PNG.")


def _colour(pixels: npt.NDArray[np.uint8], file: Source) -> npt.NDArray[np.bool_]:
    if pixels.shape[2] in (2, 4):
        if pixels[..., -1].min() < 255:
            raise DataError(f"{file}: the mask is transparent in places; save it as 8-bit grey or palette PNG.")
        pixels = pixels[..., :-1]
    if (pixels == pixels[..., :1]).all():
        return _grey(pixels[..., 0].astype(np.int64), file)
    void = (pixels == np.array([224, 224, 192])).all(axis=-1)
    found: npt.NDArray[np.bool_] = pixels.any(axis=-1) & ~void
    return found


def _grey(pixels: npt.NDArray[np.int64], file: Source) -> npt.NDArray[np.bool_]:
    levels = np.unique(pixels)
    found: npt.NDArray[np.bool_]
    if levels[-1] > VOID:  # 16 bits
        pixels, levels = pixels >> 8, np.unique(levels >> 8)
    if len(levels) <= 2:
        found = pixels > 0 if levels[0] == 0 else pixels > levels[0]
        if len(levels) == 1:
            found = pixels > 0
        return found
    if levels[-1] < 128:
        found = pixels > 0
        return found
    found = pixels > 127
    if int(((pixels > 0) & ~found).sum()) > int(found.sum()):
        shown = ", ".join(str(level) for level in levels[:6])
        raise DataError(
            f"{file}: the mask has {len(levels)} levels of grey ({shown}, ...), and more of it is below 128 than "
            f"above: is it a label map? Save it as palette PNG, or with two levels."
        )
    return found
