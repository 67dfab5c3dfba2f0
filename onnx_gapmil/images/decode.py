"""Read one image file into RGB pixels, whatever its colour mode; refuse what cannot be trusted."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.reading import read_bytes

MAX_PIXELS = 2**27
"""Pixels (width x height) above which an image is refused: 134 million, 403 MB once decoded."""

MAX_FILE_BYTES = 2**30
"""Bytes above which a file is not even read."""

# No EPS (Pillow runs Ghostscript for it) and no format that is a container of programs or vectors.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's decoders raise for damaged bytes; a warning is raised where the caller made it an error.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    Warning,
    struct.error,
    zlib.error,
)


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode an image file to upright 8-bit RGB.

    - EXIF orientation is applied: rows and columns are those that a viewer shows.
    - Transparency is composited on white. Greyscale, palette, CMYK, YCbCr and Lab become RGB; colour
      profiles are ignored, as training pipelines ignore them.
    - 16-bit samples keep their upper 8 bits.
    - Of an animation or a multi-page file the first frame is read.
    - The size in the header is checked before memory is taken.

    Args:
        path: the file; JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF by content, not by name.
        max_pixels: the largest width x height accepted. Above 179 million Pillow's own limit,
            `PIL.Image.MAX_IMAGE_PIXELS`, has to be raised as well.

    Returns:
        Array of shape (H, W, 3), RGB, uint8 in 0..255, C-contiguous and writable.

    Raises:
        ImageError: the file is missing, a folder, empty, no image, damaged, or too large.
    """
    file = Path(path)
    data = _read_bytes(file)
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_size(file, image, max_pixels)
            image.load()
            return _to_rgb(_upright(image), file)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{file}: the header promises more pixels than are read ({error}); scale the image down first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{file}: no image in a format that is read ({', '.join(_formats())}); convert it to PNG."
        ) from error
    except _DECODER_ERRORS as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(f"{file}: the image is damaged or cut short ({reason}); fetch or export it again.") from error


def check_pixels(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pixels that a caller has decoded himself, as `read_image` gives them.

    Raises:
        ImageError: they are not (H, W, 3) uint8.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"a photo is an array (H, W, 3) of uint8, RGB, not {pixels.shape} of {pixels.dtype.name}.")
    return pixels


def _read_bytes(file: Path) -> bytes:
    """The file's bytes, or an ImageError that names the everyday mishap."""
    data = read_bytes(file, ImageError, expected="an image", limit=MAX_FILE_BYTES)
    if not data:
        raise ImageError(f"{file}: the file is empty; fetch or export it again.")
    return data


def _formats() -> tuple[str, ...]:
    """The accepted formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(file: Path, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{file}: {width} x {height} pixels exceed the limit of {max_pixels:,}; scale it down first.")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; unreadable EXIF counts as none, as in every viewer."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image, file: Path) -> npt.NDArray[np.uint8]:
    if image.mode == "I" or image.mode.startswith("I;"):
        return _sixteen_bit_to_rgb(image, file)
    if image.mode == "F":
        raise ImageError(
            f"{file}: its pixels are floating-point numbers, whose range is not known; save it with 8 bits."
        )
    if image.mode in {"RGBA", "RGBa", "LA", "La", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _sixteen_bit_to_rgb(image: Image.Image, file: Path) -> npt.NDArray[np.uint8]:
    """Grey samples of 16 bits: keep the upper byte, as Pillow's RGB reader does; its `convert` would clip."""
    samples = np.asarray(image).astype(np.int64)
    if samples.min() < 0 or samples.max() > 0xFFFF:
        raise ImageError(f"{file}: its samples have more than 16 bits; save it with 8 or 16 bits.")
    grey = (samples >> 8).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
