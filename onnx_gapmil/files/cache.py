"""What was found once and would be found again: small texts in the user's cache folder, which may be deleted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.writing import write_whole

#: Longer texts are none of ours.
_MAX_BYTES = 1 << 20


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/onnx-gapmil``; by default below ``~/.cache``, ``~/Library/Caches`` or ``%LOCALAPPDATA%``."""
    asked = os.environ.get("XDG_CACHE_HOME", "")
    if asked and Path(asked).is_absolute():
        return Path(asked) / "onnx-gapmil"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "onnx-gapmil" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "onnx-gapmil"


def recall(*key: str) -> str | None:
    """The text that was kept under a key; None where there is none, or it cannot be read."""
    try:
        path = _path(key)
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return None


def remember(text: str, *key: str) -> None:
    """Keep a text under a key, if there is a place to keep it: it is found again where not."""
    with contextlib.suppress(OSError, RuntimeError, InputError):
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode("utf-8"))


def _path(key: tuple[str, ...]) -> Path:
    return cache_folder() / f"{hashlib.sha256(chr(0).join(key).encode('utf-8')).hexdigest()}.json"
