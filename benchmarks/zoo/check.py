"""Lift an exported file and compare its grid, cell by cell, with the vendor's own head; one JSON line for each case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import protocol  # noqa: E402
from independent import check_rewrite  # noqa: E402
from vendor import Vendor  # noqa: E402

from onnx_gapmil import GapmilError, ProofError, UnsupportedHeadError, rewrite  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from independent import Finding

#: Cells compared in each grid.
CELLS = 64
#: How `independent.check_orientation` begins its sentences.
_TURNED = "the image's "
#: How it says that it knows no formula for an operator of a conditional head; the mean is checked all the same.
_NO_FORMULA = "not checked cell by cell"


def check(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What became of one file.

    Returns:
        ``got`` is ``exact``, ``conditional``, ``refused``, ``unreadable``, ``wrong`` or ``crashed``; ``code`` and ``walked`` of a
        refusal; ``size``, ``mean_residual``, ``cell_residual`` and ``cells`` of a grid; ``why`` in words; ``chain`` the head.
    """
    path = folder / case["file"]
    try:
        result = rewrite(path, write=False)
    except UnsupportedHeadError as error:
        refusal = error.refusal
        return {"got": "refused", "code": refusal.code, "why": refusal.message, "walked": list(refusal.walked[:12])}
    except ProofError as error:
        return {"got": "wrong", "why": str(error)}
    except GapmilError as error:
        return {"got": "unreadable", "why": str(error)}
    except Exception as error:  # noqa: BLE001 - a crash is what the table is there to find
        return {"got": "crashed", "why": f"{type(error).__name__}: {error}"}
    try:
        vendor = Vendor(path, inlined=result.inlined)
        findings = check_rewrite(vendor, result, {"expect": "open"}, CELLS)
    except Exception as error:  # noqa: BLE001 - the rewritten model may not even run
        return {"got": "crashed", "why": f"while it was checked: {type(error).__name__}: {error}"}
    told = [text for pair in zip(result.heads, findings, strict=True) for text in _problems(*pair)]
    problems = [text for text in told if not text.startswith(_NO_FORMULA)]
    compared = [finding.cell_residual for finding in findings if finding.cell_residual is not None]
    return {
        "got": "wrong" if problems else result.verdict,
        "why": "; ".join(problems or told),
        "size": findings[0].size,
        "mean_residual": max(finding.mean_residual for finding in findings),
        "cell_residual": max(compared, default=None),
        "cells": sum(finding.cells for finding in findings),
        "chain": [step.op for step in result.heads[0].chain],
    }


def _problems(head: Any, finding: Finding) -> list[str]:
    """What is wrong with a grid, but for turns that only a wide receptive field explains.

    In a random network whose every cell sees the whole image, a change at the top moves the grid anywhere. Where the
    file's own map has rows and columns, its axes and the comparison cell by cell say which is which.
    """
    plane = all(len(grid.axes) == 2 for grid in head.feature_grids)
    return [text for text in finding.problems if not (plane and text.startswith(_TURNED))]


def cases() -> Iterable[dict[str, Any]]:
    """None: files are given."""
    return ()


if __name__ == "__main__":
    protocol.main(cases, check)
