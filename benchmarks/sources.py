"""Digests of source files: what an earlier run found counts only while the code that found it is the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[1]


def digest_of_files(paths: Iterable[Path], root: Path = ROOT) -> str:
    """Of the names and bytes of files below a folder, in their order; of folders, of all Python in them."""
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return digest(part for file in files for part in (file.relative_to(root).as_posix().encode(), file.read_bytes()))


def digest(parts: Iterable[bytes]) -> str:
    """Of several pieces, so that none can pass for the end of another; 16 hexadecimal digits of SHA-256."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]
