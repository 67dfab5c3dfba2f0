"""What a file is, by its content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from onnx_gapmil.errors import ModelError
from onnx_gapmil.files.reading import open_regular

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 20


def hash_file(path: Path) -> str:
    """SHA-256 of a model's file, or of one with its weights, read in parts.

    Raises:
        ModelError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path) as stream:
            while part := stream.read(_CHUNK):
                digest.update(part)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file, and an ONNX model was expected; check the path.") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
