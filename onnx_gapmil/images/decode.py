"""Read one image file into RGB pixels, or into its samples of more than 8 bits; refuse what cannot be trusted."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.arrays import is_array_file, read_array
from onnx_gapmil.files.blob import Blob, Source
from onnx_gapmil.files.reading import read_bytes
from onnx_gapmil.images.jpeg import decode_reduced, decode_rgb

MAX_PIXELS = 2**27
"""Pixels (width x height) above which an image is refused: 134 million, 403 MB once decoded."""

MAX_FILE_BYTES = 2**30
"""Bytes above which a file is not even read."""

# No EPS (Pillow runs Ghostscript for it) and no format that is a container of programs or vectors.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".npy", ".npz"})
"""Endings of files that may hold samples of more than 8 bits."""

_ON_SIDE = frozenset({5, 6, 7, 8})
_JPEG = frozenset({"JPEG", "MPO"})
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


def read_image(path: str | Source, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode an image file to upright 8-bit RGB.

    - EXIF orientation is applied: rows and columns are those that a viewer shows.
    - Transparency is composited on white. Greyscale, palette, CMYK, YCbCr and Lab become RGB; colour
      profiles are ignored, as training pipelines ignore them.
    - 16-bit samples keep their upper 8 bits; `read_samples` keeps all.
    - Of an animation or a multi-page file the first frame is read.
    - The size in the header is checked before memory is taken.

    Args:
        path: the file, or what else holds its bytes; JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF by
            content, not by name.
        max_pixels: the largest width x height accepted. Above 179 million Pillow's own limit,
            `PIL.Image.MAX_IMAGE_PIXELS`, has to be raised as well.

    Returns:
        Array of shape (H, W, 3), RGB, uint8 in 0..255, C-contiguous and writable.

    Raises:
        ImageError: the file is missing, a folder, empty, no image, damaged, or too large; or its samples are neither of
            8 nor of 16 bits.
    """
    samples = read_samples(path, max_pixels=max_pixels)
    if samples.dtype == np.uint8 and samples.ndim == 3:
        return samples
    if samples.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f'{path}: its samples are {samples.dtype.name}, whose range is not known; state "full_scale" in the '
            "preprocessing, or save it with 8 or 16 bits."
        )
    pixels = samples if samples.dtype == np.uint8 else (samples >> 8).astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def read_samples(path: str | Source, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[Any]:
    """Decode an image file as `read_image` does, with samples of more than 8 bits as they are stored.

    Args:
        path: the file; an image, or a ``.npy`` of (H, W), (H, W, 1), (H, W, 3) or (3, H, W), in RGB.
        max_pixels: see `read_image`.

    Returns:
        (H, W, 3) RGB uint8 of 8 bits and fewer. Otherwise (H, W), or (H, W, 3) RGB, of uint16, int32 or float; integers
        of 32 bits that 16 can hold are uint16.

    Raises:
        ImageError: see `read_image`.
    """
    return _read(path if isinstance(path, Path | Blob) else Path(path), max_pixels)[0]


def decode_samples(data: bytes, file: str | Source, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[Any]:
    """Decode the bytes of an image file, which need not lie anywhere.

    Args:
        data: the file's bytes; an image.
        file: what errors call it.
        max_pixels: see `read_image`.

    Returns:
        See `read_samples`.

    Raises:
        ImageError: see `read_image`.
    """
    return _decoded(data, file, max_pixels)[0]


def _read(
    file: Source, max_pixels: int, least: Callable[[tuple[int, int]], tuple[int, int]] | None = None
) -> tuple[npt.NDArray[Any], tuple[int, int] | None]:
    """The samples; and where they were reduced, the photo's own upright (H, W)."""
    if is_array_file(file):
        return _of_array(file, max_pixels), None
    return _decoded(_read_bytes(file), file, max_pixels, least)


def _decoded(
    data: bytes,
    file: str | Source,
    max_pixels: int,
    least: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
) -> tuple[npt.NDArray[Any], tuple[int, int] | None]:
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_size(file, image, max_pixels)
            if image.format in _JPEG and image.mode == "RGB" and (found := _of_jpeg(image, data, least)) is not None:
                return found
            image.load()  # says what is damaged, whoever decodes
            deep = _deep_colours(image, data)
            if deep is not None:
                return _turned(deep, _orientation(image)), None
            return _samples(_upright(image)), None
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


def read_reduced(
    path: str | Source, least: Callable[[tuple[int, int]], tuple[int, int]], *, max_pixels: int = MAX_PIXELS
) -> tuple[npt.NDArray[Any], tuple[int, int]]:
    """As `read_samples`, but a large JPEG is decoded at a half, a quarter or an eighth of its sides.

    Quicker, and not exact: averaging blocks of pixels is not the filter that the photo is made small by afterwards.

    Args:
        path: the file.
        least: from the photo's upright (H, W) to what is needed; no side gets smaller than that.
        max_pixels: see `read_image`.

    Returns:
        The samples, and the photo's own upright (H, W).

    Raises:
        ImageError: see `read_image`.
    """
    samples, size = _read(path if isinstance(path, Path | Blob) else Path(path), max_pixels, least)
    return samples, size or (samples.shape[0], samples.shape[1])


def is_image_array(array: npt.NDArray[Any]) -> bool:
    """Whether an array has the shape of an image: (H, W), (H, W, 1), (H, W, 3) or (3, H, W)."""
    if array.ndim == 3 and array.shape[2] in (1, 3):
        return 0 not in array.shape
    return (array.ndim == 2 or (array.ndim == 3 and array.shape[0] in (1, 3))) and 0 not in array.shape


def check_samples(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples that a caller has decoded himself, as `read_samples` gives them.

    Raises:
        ImageError: they have not the shape of an image.
    """
    if not is_image_array(samples) or samples.dtype.kind not in "iuf":
        raise ImageError(
            f"an image is an array (H, W, 3), RGB, or (H, W), of numbers, not {samples.shape} of {samples.dtype.name}."
        )
    if samples.ndim == 3 and samples.shape[2] not in (1, 3):
        samples = np.ascontiguousarray(samples.transpose(1, 2, 0))
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[:, :, 0]
    if samples.dtype == np.uint8 and samples.ndim == 2:
        return np.repeat(samples[:, :, None], 3, axis=2)
    return samples


def check_pixels(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pixels that a caller has decoded himself, as `read_image` gives them.

    Raises:
        ImageError: they are not (H, W, 3) uint8.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"a photo is an array (H, W, 3) of uint8, RGB, not {pixels.shape} of {pixels.dtype.name}.")
    return pixels


def _read_bytes(file: Source) -> bytes:
    """The file's bytes, or an ImageError that names the everyday mishap."""
    data = read_bytes(file, ImageError, expected="an image", limit=MAX_FILE_BYTES)
    if not data:
        raise ImageError(f"{file}: the file is empty; fetch or export it again.")
    return data


def _formats() -> tuple[str, ...]:
    """The accepted formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(file: str | Source, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{file}: {width} x {height} pixels exceed the limit of {max_pixels:,}; scale it down first.")


def _of_array(file: Source, max_pixels: int) -> npt.NDArray[Any]:
    samples = read_array(file)
    try:
        samples = check_samples(samples)
    except ImageError as error:
        raise ImageError(f"{file}: {error}") from error
    if samples.shape[0] * samples.shape[1] > max_pixels:
        height, width = samples.shape[:2]
        raise ImageError(f"{file}: {width} x {height} pixels exceed the limit of {max_pixels:,}; scale it down first.")
    return samples


def _of_jpeg(
    image: Image.Image, data: bytes, least: Callable[[tuple[int, int]], tuple[int, int]] | None
) -> tuple[npt.NDArray[np.uint8], tuple[int, int] | None] | None:
    """`_read` of a JPEG of three colours; None where Pillow has to do it."""
    turn = _orientation(image)
    size = image.size if turn in _ON_SIDE else image.size[::-1]
    part = 1 if least is None else _part(size, least(size))
    pixels = decode_rgb(data) if part == 1 else decode_reduced(data, image.size, part)
    if pixels is None:
        return None
    return (pixels if turn == 1 else _turned(pixels, turn)), (None if part == 1 else size)


def _part(size: tuple[int, int], least: tuple[int, int]) -> int:
    """By how much each side may be divided: 8, 4, 2 or 1."""
    fits = (part for part in (8, 4, 2) if all(side // part >= needed for side, needed in zip(size, least, strict=True)))
    return next(fits, 1)


def _orientation(image: Image.Image) -> int:
    """EXIF's number; unreadable EXIF counts as none, as in every viewer."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation."""
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _turned(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """`_upright` of an array."""
    if orientation in _ON_SIDE:
        samples = samples.swapaxes(0, 1)
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(orientation, (1, 1))
    return np.ascontiguousarray(samples[::rows, ::columns])


def _samples(image: Image.Image) -> npt.NDArray[Any]:
    if image.mode == "F":
        return np.array(image, dtype=np.float32)
    if image.mode == "I" or image.mode.startswith("I;"):
        samples = np.array(image).astype(np.int64)
        fits = samples.min() >= 0 and samples.max() <= 0xFFFF
        return samples.astype(np.uint16 if fits else np.int32)
    if image.mode in {"RGBA", "RGBa", "LA", "La", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _deep_colours(image: Image.Image, data: bytes) -> npt.NDArray[Any] | None:
    """Colours, or grey with transparency, of 16 bits, which Pillow reads as 8; None of any other image."""
    if image.format == "PNG":
        deep = len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6)  # IHDR's depth and kind
    elif image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, ())  # BitsPerSample
        deep = isinstance(bits, tuple) and len(bits) > 1 and set(bits) == {16}
    else:
        deep = image.format == "PPM" and data[:2] == b"P6" and image.mode == "RGB" and _ppm_is_deep(data)
    if not deep:
        return None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if found is None or found.dtype != np.uint16:
        return None
    return _on_white(found)


def _ppm_is_deep(data: bytes) -> bool:
    """Whether a PPM's header, three numbers between comments, says more than 255 levels."""
    head = re.sub(rb"#[^\n]*\n", b" ", data[2:200]).split(maxsplit=3)
    return len(head) > 2 and head[2].isdigit() and int(head[2]) > 255


def _on_white(found: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """OpenCV's BGR or BGRA, or grey, as RGB on white."""
    if found.ndim == 2:
        return found.astype(np.uint16)
    colours = found[:, :, 2::-1] if found.shape[2] >= 3 else found[:, :, :1]
    if found.shape[2] in (2, 4):
        alpha = found[:, :, -1:].astype(np.float64) / 0xFFFF
        colours = np.rint(colours * alpha + 0xFFFF * (1 - alpha))
    colours = np.ascontiguousarray(colours.astype(np.uint16))
    return colours[:, :, 0] if colours.shape[2] == 1 else colours
