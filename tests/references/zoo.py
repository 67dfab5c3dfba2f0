"""What must become of each file of the zoo: its catalogue's expectation, and its grids checked by `independent`.

The zoo is a folder of .onnx files with a ``catalog.jsonl``: for each file its exporter, class and what is expected of
it. Gated are the files expected to be ``exact``, those ``conditional`` ones whose head holds a norm or a nonlinearity,
and everything that must be refused; ``quantized``, ``open`` and the other conditional classes are shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.references.independent import check_rewrite
from tests.references.vendor import Vendor

ZOO = Path(__file__).resolve().parents[3] / "shared" / "zoo"
#: Files above this are left to the coverage benchmark.
MAX_BYTES = 3_000_000
#: What heads that are fully connected over a flattened map must do: ``refuse``, or ``lift`` and be right.
FLATTENED_HEADS = "lift"


@dataclass
class Row:
    """What became of one file.

    Attributes:
        file: its path in the zoo.
        exporter: framework and exporter.
        klass: the catalogue's class.
        expect: the catalogue's expectation.
        got: ``exact``, ``conditional``, ``refused``, ``unreadable``, ``wrong`` or ``crashed``.
        code: of a refusal.
        mean_residual: worst over the file's heads, relative to max |logit|.
        cell_residual: the same, cell by cell; None where it was not compared.
        cells: cells compared.
        size: (H, W) of the first grid.
        why: the problems, or the refusal's message.
        seconds: rewriting and checking.
    """

    file: str
    exporter: str
    klass: str
    expect: str
    got: str = "crashed"
    code: str = ""
    mean_residual: float | None = None
    cell_residual: float | None = None
    cells: int = 0
    size: tuple[int, ...] = ()
    why: str = ""
    seconds: float = 0.0

    @property
    def lifted(self) -> bool:
        """Whether there is a grid, right or wrong."""
        return self.got in ("exact", "conditional", "wrong")

    @property
    def met(self) -> bool:
        """Whether the file did as the catalogue expects."""
        if self.expect in ("exact", "conditional"):
            return self.got == self.expect
        if self.expect == "flatten" and FLATTENED_HEADS == "lift":
            return self.got in ("exact", "conditional")
        if self.expect in ("refused", "flatten"):
            return self.got == "refused"
        if self.expect == "quantized":
            return self.got in ("exact", "conditional")
        return self.got not in ("wrong", "crashed")

    @property
    def gate(self) -> str:
        """The gated group that it belongs to; empty if it is only shown."""
        if self.expect == "exact":
            return "exact"
        if self.expect == "conditional" and ("norm in head" in self.klass or "nonlinearity in head" in self.klass):
            return "conditional (norm or nonlinearity)"
        refused = ("refused",) if FLATTENED_HEADS == "lift" else ("refused", "flatten")
        return "to refuse" if self.expect in refused else ""


def one_of_each(kind_of: Callable[[dict[str, Any]], tuple[str, ...] | None], *, step: int = 1) -> list[Any]:
    """Parameters of a test: one file of each kind of the catalogue; a skipped one where there is no zoo.

    Args:
        kind_of: the kind of an entry; None leaves it out.
        step: of the kinds so many-th.
    """
    import pytest

    entries = read_catalogue(ZOO)
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason="there is no shared zoo beside the checkout"))]
    kinds: dict[tuple[str, ...], str] = {}
    for entry in entries:
        # The light ones make up to 500 MB of weights in every run.
        kind = kind_of(entry) if entry["bytes"] <= MAX_BYTES and entry["framework"] != "onnx-light" else None
        if kind is not None:
            kinds.setdefault(kind, entry["file"])
    return [pytest.param(file, id=file) for file in list(kinds.values())[::step]]


def read_catalogue(zoo: Path) -> list[dict[str, Any]]:
    """The lines of ``catalog.jsonl``; nothing where there is no zoo."""
    file = zoo / "catalog.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


def spread(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One file of the zoo for each pair of exporter and class: every spelling, and few files of each."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        chosen.setdefault((entry["exporter"], entry["klass"]), entry)
    return list(chosen.values())


def check_file(entry: dict[str, Any], zoo: Path, max_cells: int = 200) -> Row:
    """Rewrite one file and check every grid of it; never raises for what the package does."""
    from onnx_gapmil import GapmilError, ProofError, UnsupportedHeadError, rewrite

    row = Row(entry["file"], f"{entry['framework']} {entry['exporter']}", entry["klass"], entry["expect"])
    if entry["framework"] == "onnx-light":
        max_cells = min(max_cells, 4)  # up to 500 MB of weights that are all the same, made anew in every run
    start = time.perf_counter()
    try:
        result = rewrite(zoo / entry["file"], write=False)
    except UnsupportedHeadError as error:
        row.got, row.code, row.why = "refused", error.refusal.code, error.refusal.message
    except ProofError as error:
        # Found by the package itself, and not written; a rule is wrong all the same.
        row.got, row.why = "wrong", str(error).replace(f"{zoo}/", "")
    except GapmilError as error:
        row.got, row.why = "unreadable", str(error).replace(f"{zoo}/", "")
    except Exception as error:  # noqa: BLE001 - a crash is what the table is there to find
        row.why = f"{type(error).__name__}: {error}"
    else:
        try:
            _check(row, entry, zoo, result, max_cells)
        except Exception as error:  # noqa: BLE001 - the rewritten model may not even run
            row.got, row.why = "crashed", f"while it was checked: {type(error).__name__}: {error}"
    row.seconds = time.perf_counter() - start
    return row


def _check(row: Row, entry: dict[str, Any], zoo: Path, result: Any, max_cells: int) -> None:
    vendor = Vendor(zoo / entry["file"], inlined=result.inlined)
    findings = check_rewrite(vendor, result, entry, max_cells)
    problems = [problem for finding in findings for problem in finding.problems]
    row.got, row.why = "wrong" if problems else result.verdict, "; ".join(problems)
    row.mean_residual = max(finding.mean_residual for finding in findings)
    row.cell_residual = max((f.cell_residual for f in findings if f.cell_residual is not None), default=None)
    row.cells = sum(finding.cells for finding in findings)
    row.size = findings[0].size
