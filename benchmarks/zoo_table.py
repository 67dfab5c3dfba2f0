"""Lift every model of a zoo, check each grid against the vendor's own head, and print what became of them.

The zoo is a folder of .onnx files with a ``catalog.jsonl``: for each file its exporter, class and what is expected of
it. Gated are the files expected to be ``exact``, those ``conditional`` ones whose head holds a norm or a nonlinearity,
and everything that must be refused; ``quantized``, ``open`` and the other conditional classes are shown.

Exit code 1 if any of a gated group is not lifted and right, if a file to refuse gets a grid, or if anything
crashes or any grid is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from independent import check_rewrite
from vendor import Vendor

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT.parent / "shared" / "zoo"
COMMAND = "python benchmarks/zoo_table.py --markdown docs/coverage.md"
#: Share of each gated group that must be lifted and right.
SHARE = 1.0
#: What heads that are fully connected over a flattened map must do: ``refuse``, or ``lift`` and be right.
FLATTENED_HEADS = "lift"
HEADINGS = ("files", "lifted", "right", "refused", "wrong", "crashed", "mean residual", "cell residual", "codes")


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


def read_catalogue(zoo: Path) -> list[dict[str, Any]]:
    """The lines of ``catalog.jsonl``."""
    return [json.loads(line) for line in (zoo / "catalog.jsonl").read_text("utf-8").splitlines() if line]


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


@dataclass
class Tally:
    """Counts of a group of files, as one line of a table."""

    rows: list[Row] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """The line, in the order of `HEADINGS`."""
        rows = self.rows
        codes = Counter(row.code or row.got for row in rows if row.got in ("refused", "unreadable"))
        return (
            str(len(rows)),
            str(sum(row.lifted for row in rows)),
            str(sum(row.got in ("exact", "conditional") for row in rows)),
            str(sum(codes.values())),
            str(sum(row.got == "wrong" for row in rows)),
            str(sum(row.got == "crashed" for row in rows)),
            _worst(row.mean_residual for row in rows),
            _worst(row.cell_residual for row in rows),
            ", ".join(f"{code} {count}" for code, count in sorted(codes.items())),
        )


def _worst(values: Any) -> str:
    return f"{max(found):.1e}" if (found := [value for value in values if value is not None]) else ""


def tables(rows: list[Row]) -> dict[str, list[tuple[str, ...]]]:
    """By title: a heading and its lines."""
    by_class: dict[tuple[str, ...], Tally] = defaultdict(Tally)
    by_exporter: dict[tuple[str, ...], Tally] = defaultdict(Tally)
    for row in rows:
        by_class[row.expect, row.klass].rows.append(row)
        by_exporter[row.exporter, row.expect].rows.append(row)
    return {
        "By class": [("expected", "class", *HEADINGS), *((*key, *by_class[key].cells()) for key in sorted(by_class))],
        "By exporter": [
            ("exporter", "expected", *HEADINGS),
            *((*key, *by_exporter[key].cells()) for key in sorted(by_exporter)),
        ],
    }


def gates(rows: list[Row]) -> list[tuple[bool, str]]:
    """Each gate: whether it holds, and one sentence."""
    result = []
    for name in ("exact", "conditional (norm or nonlinearity)"):
        group = [row for row in rows if row.gate == name]
        met = sum(row.met for row in group)
        result.append(
            (met >= SHARE * len(group), f"{name}: {met} of {len(group)} lifted and right, {SHARE:.0%} asked for")
        )
    given = [row for row in rows if row.gate == "to refuse" and row.lifted]
    result.append((not given, f"to refuse: {len(given)} got a grid"))
    for got in ("wrong", "crashed"):
        count = sum(row.got == got for row in rows)
        result.append((not count, f"{got}: {count}"))
    return result


def shortfalls(rows: list[Row]) -> list[str]:
    """One sentence for every file that did not do as expected."""
    return [
        f"{row.file}: {row.expect} expected, {row.got}{f' ({row.code})' if row.code else ''}: {row.why}"
        for row in rows
        if not row.met
    ]


def markdown(rows: list[Row]) -> str:
    """The page: tables, gates, shortfalls, and how it was made."""
    packages = ("onnx-gapmil", "onnx", "onnxruntime", "numpy")
    lines = [
        "# Coverage",
        "",
        f"Generated by `{COMMAND}`; do not edit. {len(rows)} exported classifiers; versions: {versions(packages)}.",
        "",
        "Heads exported anew by `make zoo`, every timm module among them: "
        "[coverage-frameworks.md](coverage-frameworks.md).",
        "",
        "*Right*: the mean over cells is the untouched file's logits, and every cell that was compared is what the "
        "vendor's own head answers to that cell (conditional heads: the formula in float64), within "
        "2e-5 of the largest logit for float32, 5e-3 for half precision, 0.05 for integers. "
        f"{sum(row.cells for row in rows):,} cells were compared. "
        "Integer heads saturate at the range of *pooled* values, "
        "which single cells leave: there only the mean is asked for, and the cells' residual is shown.",
    ]
    for title, table in tables(rows).items():
        heading, *body = ([cell.replace("|", "\\|") for cell in line] for line in table)
        lines += ["", f"## {title}", "", f"| {' | '.join(heading)} |", "|" + "---|" * len(heading)]
        lines += [f"| {' | '.join(line)} |" for line in body]
    lines += ["", "## Gates", "", *(f"- {'holds' if holds else '**FAILS**'}: {text}" for holds, text in gates(rows))]
    lines += ["", "## Not as expected", "", *(f"- {text}" for text in shortfalls(rows) or ["nothing"]), ""]
    return "\n".join(lines)


def versions(names: tuple[str, ...]) -> str:
    """Installed versions, for reports; the GPU build of ONNX Runtime counts as ONNX Runtime."""
    found = []
    for name in names:
        for candidate in (name, f"{name}-gpu"):
            try:
                found.append(f"{candidate} {version(candidate)}")
                break
            except ModuleNotFoundError:
                if name == "onnx-gapmil":
                    import onnx_gapmil

                    found.append(f"{name} {onnx_gapmil.__version__}")
                    break
    return ", ".join(found)


def _print_text(rows: list[Row]) -> None:
    for title, table in tables(rows).items():
        widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
        print(f"\n{title}")
        for line in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print("\nNot as expected")
    for text in shortfalls(rows) or ["nothing"]:
        print(f"  {text}")
    print("\nGates")
    for holds, text in gates(rows):
        print(f"  {'holds' if holds else 'FAILS'}: {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", nargs="?", type=Path, default=ZOO, metavar="ZOO_DIR", help="default: ../shared/zoo")
    parser.add_argument("--json", action="store_true", help="print every file's result as JSON instead")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables there")
    parser.add_argument("--cells", type=int, default=200, help="cells compared in each grid (default 200)")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes")
    options = parser.parse_args()
    if not (options.zoo / "catalog.jsonl").is_file():
        print(f"{options.zoo} has no catalog.jsonl; give the zoo's folder.", file=sys.stderr)
        return 2
    entries = read_catalogue(options.zoo)
    start = time.perf_counter()
    work = partial(check_file, zoo=options.zoo.resolve(), max_cells=options.cells)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(work, entries, chunksize=4))
    passed = all(holds for holds, _ in gates(rows))
    if options.json:
        report = [{"holds": holds, "gate": text} for holds, text in gates(rows)]
        print(json.dumps({"passed": passed, "gates": report, "files": [asdict(row) for row in rows]}, indent=1))
    else:
        _print_text(rows)
        print(f"\n{len(rows)} files, {time.perf_counter() - start:.0f} s; {'passed' if passed else 'FAILED'}")
    if options.markdown is not None:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(rows), encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
