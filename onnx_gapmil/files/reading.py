"""Reading a file that somebody else made: bounded, and with one sentence for each everyday mishap."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_gapmil.errors import InputError

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_bytes(
    path: Path, error: type[InputError], *, expected: str, limit: int, inspect: Callable[[int], None] | None = None
) -> bytes:
    """The file's bytes.

    Args:
        path: the file.
        error: the class to raise, so that the message keeps its subject.
        expected: what the file should be, with its article: "an image".
        limit: bytes above which it is not read.
        inspect: called with the file's size in bytes before it is read, to refuse it in words of its own.

    Raises:
        InputError: of class `error`: missing, a folder, larger than `limit`, a Git LFS pointer, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise error(f"{path}: this is a folder, and {expected} was expected; name the file in it.")
        size = path.stat().st_size
        if inspect is not None:
            inspect(size)
        if size > limit:
            raise error(f"{path}: {size:,} bytes are more than {expected} should have ({limit:,}).")
        data = path.read_bytes()
    except FileNotFoundError as cause:
        raise error(f"{path}: no such file, and {expected} was expected; check the path.") from cause
    except (OSError, ValueError) as cause:
        raise error(f"{path}: cannot be read: {getattr(cause, 'strerror', None) or cause}.") from cause
    if data.startswith(_LFS_POINTER):
        raise error(f"{path}: this is a Git LFS pointer, not the file itself; run `git lfs pull`.")
    return data
