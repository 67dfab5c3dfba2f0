"""Arrays from ``.npy`` and ``.npz`` files: told by their headers before any memory is taken, and never unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.literals import PARSING

#: Files that hold arrays, by their endings in lower case.
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
#: Bytes of one file's arrays, at most: eight volumes of 512 x 512 x 512 bytes.
MAX_BYTES = 1 << 30
_KINDS = frozenset("fiub")


def is_array_file(path: Source) -> bool:
    """Whether a file holds arrays, by its ending."""
    return path.suffix.lower() in ARRAY_SUFFIXES


def read_arrays(path: Source, inputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file by the model's inputs: one of a ``.npy``, one for each input of an ``.npz``.

    A model of one input takes the only array of an ``.npz``, whatever its name.

    Args:
        path: the file.
        inputs: names of the model's inputs.

    Raises:
        ImageError: it cannot be read, holds no numbers (pickled objects above all), or is too large; or its names are
            not those of the inputs.
    """
    try:
        if isinstance(path, Path) and path.is_dir():
            raise ImageError(f"{path}: this is a folder; name the .npy or .npz files in it.")
        if isinstance(path, Path) and not path.is_file():
            raise ImageError(f"{path}: no such file, or no regular one; check the path.")
        with path.open("rb") if isinstance(path, Path) else path.open(2 * MAX_BYTES) as stream:
            if path.suffix.lower() == ".npy":
                found = {"": _read(stream, str(path), stream.seek(0, io.SEEK_END) - stream.seek(0))}
            else:
                found = _members(stream, path)
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ImageError(f"{path}: no array that can be read ({str(error).splitlines()[0][:200]}).") from error
    except MemoryError as error:
        raise ImageError(f"{path}: its array does not fit into memory.") from error
    return _by_input(found, path, inputs)


def read_array(path: Source) -> npt.NDArray[Any]:
    """The array of a ``.npy`` file, or the only one of an ``.npz``, whatever its name.

    Raises:
        ImageError: see `read_arrays`; or an ``.npz`` holds several.
    """
    return next(iter(read_arrays(path, ("the image",)).values()))


def _members(file: IO[bytes], path: Source) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > MAX_BYTES:
            raise _too_large(str(path), total)
        for entry in entries:
            with archive.open(entry) as stream:
                found[entry.filename.removesuffix(".npy")] = _read(
                    stream, f"{path}, array '{entry.filename}'", entry.file_size
                )
    return found


def _read(stream: IO[bytes], what: str, size: int) -> npt.NDArray[Any]:
    """One array, whose header must promise no more than there is."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format is version {version[0]}.{version[1]}")
    with PARSING:  # NumPy reads headers, which are Python's literals, by its parser
        shape, in_columns, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ImageError(
            f"{what}: it holds pickled Python objects, which are never loaded; save it as numbers, with "
            "np.save(..., allow_pickle=False)."
        )
    if dtype.kind not in _KINDS:
        raise ImageError(f"{what}: it holds {dtype}, and a model takes numbers.")
    count = math.prod(shape)
    wanted = count * dtype.itemsize
    if wanted > MAX_BYTES:
        raise _too_large(what, wanted)
    if wanted > size:
        raise ValueError(f"it is cut short: {shape} of {dtype} are {wanted:,} bytes, and the file has {size:,}")
    data = stream.read(wanted)
    if len(data) != wanted:
        raise ValueError("it is cut short")
    array = np.frombuffer(data, dtype=dtype, count=count)
    array = array.reshape(shape[::-1]).T if in_columns else array.reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _too_large(what: str, size: int) -> ImageError:
    return ImageError(f"{what}: {size:,} bytes are more than one file's arrays may have ({MAX_BYTES:,}).")


def _by_input(found: dict[str, npt.NDArray[Any]], path: Source, inputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    wanted = ", ".join(repr(name) for name in inputs)
    if len(inputs) == 1 and len(found) == 1:
        return {inputs[0]: next(iter(found.values()))}
    if path.suffix.lower() == ".npy":
        raise ImageError(
            f"{path}: one array, and the model has {len(inputs)} inputs ({wanted}); give an .npz that holds an array "
            "of each by its name."
        )
    if set(found) != set(inputs):
        held = ", ".join(repr(name) for name in found) or "none"
        raise ImageError(f"{path}: it holds {held}, and the model's inputs are {wanted}; name its arrays like them.")
    return found
