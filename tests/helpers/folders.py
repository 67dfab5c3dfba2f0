"""Two folders of results, held against each other."""

from __future__ import annotations

import json
from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """What is in each file, by its path with ``/``."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files, but for how long a proof took and where they lie."""
    mine, theirs = contents(first), contents(second)
    if mine.keys() == theirs.keys() and "predictions.json" in mine:
        for found in (mine, theirs):
            report = json.loads(found.pop("predictions.json"))
            del report["proof"]
            found["report"] = json.dumps(report).encode()
            found.pop("predictions.parquet", None)  # has the proof in its metadata; its rows are looked at elsewhere
    return {name: text.replace(str(first).encode(), b"out") for name, text in mine.items()} == {
        name: text.replace(str(second).encode(), b"out") for name, text in theirs.items()
    }
