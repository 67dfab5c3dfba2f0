"""Lift an exported file and compare its grid, cell by cell, with the vendor's own head; one JSON line for each case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.zoo import protocol
from onnx_gapmil import GapmilError, ProofError, UnsupportedHeadError, rewrite
from onnx_gapmil.ort.limits import set_seconds
from tests.references.independent import check_rewrite
from tests.references.vendor import Vendor, open_model

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.references.independent import Finding

#: Cells compared in each grid.
CELLS = 64
#: How `independent.check_orientation` begins its sentences.
_TURNED = "the image's "
#: How `independent.check_arrangement` ends its sentence on tokens that no map before them has the size of.
_UNSAID = "no map upstream says so"
#: How it says that it knows no formula for an operator of a conditional head; the mean is checked all the same.
_NO_FORMULA = "not checked cell by cell"


def check(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What became of one file.

    Args:
        case: its ``file``, and the ``seconds`` that lifting may take, if not the 40 of a user: what is asked is whether
            it lifts, on a machine that may be busy.
        folder: where the file is.

    Returns:
        ``got`` is ``exact``, ``conditional``, ``refused``, ``unreadable``, ``wrong`` or ``crashed``; ``code`` and
        ``walked`` of a refusal; ``size``, ``mean_residual``, ``cell_residual`` and ``cells`` of a grid;
        ``why`` in words; ``chain`` the head.
    """
    path = folder / case["file"]
    if "seconds" in case:
        set_seconds(case["seconds"])
    try:
        result = rewrite(path, write=False)
    except UnsupportedHeadError as error:
        refusal = error.refusal
        return {"got": "refused", "code": refusal.code, "why": refusal.message, "walked": list(refusal.walked[:12])}
    except ProofError as error:
        return {"got": "wrong", "why": str(error)}
    except GapmilError as error:
        return _unreadable(path, str(error))
    except Exception as error:  # noqa: BLE001 - a crash is what the table is there to find
        return {"got": "crashed", "why": f"{type(error).__name__}: {error}"}
    try:
        vendor = Vendor(path, inlined=result.inlined)
        findings = check_rewrite(vendor, result, {"expect": "open"}, CELLS)
        pairs = zip(result.heads, findings, strict=True)
        told = [text for head, finding in pairs for text in _problems(vendor, result, head, finding)]
    except Exception as error:  # noqa: BLE001 - the rewritten model may not even run
        return {"got": "crashed", "why": f"while it was checked: {type(error).__name__}: {error}"}
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


def _unreadable(path: Path, why: str) -> dict[str, Any]:
    """Ours to read, unless ONNX Runtime cannot open the file either: then its exporter failed."""
    try:
        Vendor(path)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
        return {"got": "export failed", "why": f"ONNX Runtime cannot open the file: {str(error)[:400]}"}
    return {"got": "unreadable", "why": why}


def _problems(vendor: Vendor, result: Any, head: Any, finding: Finding) -> list[str]:
    """What is wrong with a grid, but for turns that only a wide receptive field explains.

    In a random network whose every cell sees the whole image, a change at the top moves the grid anywhere. Where the
    file's own map has rows and columns, its axes and the comparison cell by cell say which is which; of tokens, many
    small changes do, if anything does.
    """
    plane = all(len(grid.axes) == 2 for grid in head.feature_grids)
    left = finding.problems
    turned = [text for text in left if text.startswith(_TURNED)]
    if turned and (plane or not turns(vendor, result, head.grid)):
        left = [text for text in left if text not in turned]
    # Of tokens that were never a map of that size (Hiera pools within windows), patches of the image tell the order.
    unsaid = [text for text in left if text.endswith(_UNSAID)]
    if unsaid and is_in_order(vendor, result, head.grid):
        left = [text for text in left if text not in unsaid]
    return left


def turns(vendor: Vendor, result: Any, grid: str, places: int = 4) -> bool:
    """Whether changes of the image, patch by patch, move the grid as if rows were columns, or the first the last.

    Where they move it all alike, as random attention does, nothing is known, and nothing is said.
    """
    alike = _order(vendor, result, grid, places)
    if alike is None:
        return True
    return bool(max(abs(alike[0, 1]), abs(alike[1, 0])) > 0.5 or min(alike[0, 0], alike[1, 1]) < -0.5)


def is_in_order(vendor: Vendor, result: Any, grid: str, places: int = 4) -> bool:
    """Whether changes of the image, patch by patch, move the grid's rows in the order of rows, and so its columns."""
    alike = _order(vendor, result, grid, places)
    return alike is not None and bool(min(alike[0, 0], alike[1, 1]) > 0.7)


def _order(vendor: Vendor, result: Any, grid: str, places: int) -> np.ndarray | None:
    """Correlations of where patches lie with the middles of the cells that they move, (2, 2); None of no image."""
    (name, image), *more = vendor.feeds.items()
    if more or image.ndim != 4:
        return None
    session = open_model(result.model, vendor.path.parent)
    first = 2 if image.shape[1] <= 4 else 1
    height, width = image.shape[first : first + 2]
    before = session.run([grid], vendor.feeds)[0].astype(np.float64)
    at, centres = [], []
    for row in range(places):
        for column in range(places):
            patch = [slice(None)] * 4
            patch[first] = slice(row * height // places, (row + 1) * height // places)
            patch[first + 1] = slice(column * width // places, (column + 1) * width // places)
            changed = image.copy()
            changed[tuple(patch)] *= -1.5
            moved = np.abs(session.run([grid], {name: changed})[0] - before).sum(axis=(0, 1)) ** 2
            rows, columns = np.indices(moved.shape)
            at.append((row, column))
            centres.append(((rows * moved).sum() / moved.sum(), (columns * moved).sum() / moved.sum()))
    alike: np.ndarray = np.corrcoef(np.array(at, dtype=np.float64).T, np.array(centres).T)[:2, 2:]
    return alike


def cases() -> Iterable[dict[str, Any]]:
    """None: files are given."""
    return ()


if __name__ == "__main__":
    protocol.main(cases, check)
