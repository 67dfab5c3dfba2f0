"""The page of ``make_zoo.py``: a section for each framework, rewritten by a run of that framework and by no other.

What stands outside the marks is written by hand, and stays.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pages import write_between
from benchmarks.zoo.zoo_report import HEADINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The table of all sections' totals.
OVERVIEW = "overview"
#: Columns of `zoo_report.totals` that the overview leaves to the sections: how long it took.
_SECONDS = 2
_HEADING = re.compile(r"^## (?P<framework>\S+) \((?P<dates>[^)]+)\)$", re.MULTILINE)


def write_section(page: Path, framework: str, lines: Iterable[str]) -> None:
    """Put a framework's section in the place of the one that the page has, or at its end, and renew the overview."""
    if marks(framework)[0] not in page.read_text("utf-8"):
        with page.open("a", encoding="utf-8") as file:
            file.write("\n" + "\n\n".join(marks(framework)) + "\n")
    write_between(page, marks(framework), lines)
    write_between(page, marks(OVERVIEW), overview(page.read_text("utf-8")))


def marks(name: str) -> tuple[str, str]:
    """The lines around a section."""
    return f"<!-- zoo: {name} -->", f"<!-- /zoo: {name} -->"


def overview(text: str) -> list[str]:
    """The totals of every section in the page, each with the days that it was run on.

    Args:
        text: the page, whose sections begin with ``## NAME (DATES)``.

    Returns:
        Lines of a Markdown table.
    """
    headings = ("framework", "run on", "exporter", *HEADINGS[:-_SECONDS])
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    found = list(_HEADING.finditer(text))
    for heading, following in zip(found, [*found[1:], None], strict=True):
        section = text[heading.end() : following.start() if following else None]
        # A totals line has the framework's name first and a count of cases third; lines of models have other columns.
        totals = re.compile(rf"^\| {re.escape(heading['framework'])} \| (?P<rest>[^|]+\| \d+ \|.*) \|$", re.MULTILINE)
        for line in totals.finditer(section):
            exporter, *counts = line["rest"].split(" | ")
            if len(counts) == len(HEADINGS):
                cells = (heading["framework"], heading["dates"], exporter, *counts[:-_SECONDS])
                lines.append(f"| {' | '.join(cells)} |")
    return lines
