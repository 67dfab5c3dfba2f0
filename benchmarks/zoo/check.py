"""Lift an exported file and compare its grid, cell by cell, with the vendor's own head; one JSON line for each case."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import protocol  # noqa: E402
from zoo_table import check_file  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Cells compared in each grid.
CELLS = 64


def check(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What became of one file: the fields of `zoo_table.Row`, and the head's operators from the pool on."""
    entry = {"file": case["file"], "framework": "", "exporter": case["exporter"], "klass": "", "expect": "open"}
    row = asdict(check_file(entry, folder, CELLS))
    kept = ("got", "code", "mean_residual", "cell_residual", "cells", "size", "why")
    return {name: row[name] for name in kept}


def cases() -> Iterable[dict[str, Any]]:
    """None: files are given."""
    return ()


if __name__ == "__main__":
    protocol.main(cases, check)
