"""The size of an image from its header, without decoding it."""

from __future__ import annotations

import struct
import warnings

from PIL import Image

from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.reading import open_source

_EXIF_ORIENTATION = 0x0112
_TURNED = range(5, 9)
_LARGEST = 2**28


def upright_size(path: Source) -> tuple[int, int] | None:
    """Height and width as a viewer shows the image; None if the header cannot be read.

    The audit finds out why when it decodes the image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_source(path, _LARGEST) as stream, Image.open(stream) as image:
                width, height = image.size
                turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, MemoryError, struct.error):
        return None
    except Image.DecompressionBombError:
        return None
    return (width, height) if turned else (height, width)
