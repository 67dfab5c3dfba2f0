"""What a fit reads of each image, in memory, or in a file of its own where it exceeds a budget.

The file has no name, so that nothing is left of it however the process ends.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.memory import available_memory

#: Share of the free memory that arrays may take, and what they may take where that is not known.
_SHARE, _UNKNOWN = 4, 1 << 30

Stored = npt.NDArray[np.float32]


def memory_budget() -> int:
    """Bytes that the arrays of a fit may take in memory."""
    free = available_memory()
    return _UNKNOWN if free is None else free // _SHARE


def make_store(shape: tuple[int, ...], budget: int) -> Stored:
    """An array of float32, to be filled.

    Args:
        shape: its axes, the first one the images.
        budget: bytes above which it lies in a file (in the folder that TMPDIR names).

    Raises:
        InputError: the disk has no room for it.
    """
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if size <= budget:
        return np.empty(shape, dtype=np.float32)
    with tempfile.TemporaryFile(prefix="gapmil-") as file:  # the map keeps it open, and nothing else does
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            raise InputError(
                f"what the fit reads of the images takes {size / 1e9:.1f} GB, for which {tempfile.gettempdir()} has no "
                f"room ({error.strerror}); name another folder by TMPDIR, or give fewer images."
            ) from error
        return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)


def _reserve(file: int, size: int) -> None:
    """Take the room now: a map of a file that the disk has no room for would kill the process when it is written."""
    os.ftruncate(file, size)
    with suppress(AttributeError):  # not on Windows and macOS
        os.posix_fallocate(file, 0, size)
