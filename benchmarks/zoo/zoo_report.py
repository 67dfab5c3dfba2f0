"""The tables of ``make_zoo.py``: what became of each case, by framework and exporter, and what falls short."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Row = dict[str, Any]

COMMAND = "make zoo"
LIFTED = ("exact", "conditional")
HEADINGS = ("cases", "pooled heads", "lifted", "exact", "conditional", "refused", "wrong", "crashed", "export failed")
HEADINGS += ("mean residual", "cell residual", "export s", "check s")
#: What is for no page: folders before a model's name, and a terminal's colours.
_NO_PAGES = re.compile(r"/\S+/(?=[^/\s]+\.onnx)|\x1b\[[0-9;]*m")


def failures(rows: list[Row]) -> list[Row]:
    """Cases that make the run fail: wrong grids, crashes, files not read in time, pooled heads that were not lifted."""
    return [row for row in rows if row["got"] in ("wrong", "crashed", "unreadable") or _short(row)]


def _short(row: Row) -> bool:
    return bool(row["pools"]) and row["got"] not in (*LIFTED, "export failed")


def _counts(rows: list[Row]) -> tuple[str, ...]:
    def count(*verdicts: str) -> str:
        return str(sum(row["got"] in verdicts for row in rows))

    return (
        str(len(rows)),
        str(sum(bool(row["pools"]) for row in rows)),
        count(*LIFTED),
        count("exact"),
        count("conditional"),
        count("refused", "unreadable"),
        count("wrong"),
        count("crashed"),
        count("export failed"),
        _worst(row.get("mean_residual") for row in rows),
        _worst(row.get("cell_residual") for row in rows),
        f"{sum(row.get('export_seconds') or 0 for row in rows):.0f}",
        f"{sum(row.get('check_seconds') or 0 for row in rows):.0f}",
    )


def _worst(values: Iterable[float | None]) -> str:
    return f"{max(found):.1e}" if (found := [value for value in values if value is not None]) else ""


def totals(rows: list[Row]) -> list[tuple[str, ...]]:
    """The first table: a heading, a line for each framework and exporter, and the sum."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["framework"], row["exporter"]].append(row)
    lines = [(*names, *_counts(group)) for names, group in groups.items()]
    return [("framework", "exporter", *HEADINGS), *lines, ("all", "", *_counts(rows))]


def claims(rows: list[Row]) -> list[str]:
    """For each framework: whether every group whose head pools is lifted by every exporter."""
    result = []
    for framework in dict.fromkeys(row["framework"] for row in rows):
        own = [row for row in rows if row["framework"] == framework and row["pools"]]
        if not own:
            continue
        groups = _by(own, lambda row: row["group"])
        exporters = list(dict.fromkeys(row["exporter"] for row in own))
        whole = [
            name
            for name, group in groups.items()
            if {row["exporter"] for row in group if row["got"] in LIFTED} == set(exporters)
        ]
        ours = sorted({row["group"] for row in own if _short(row)})
        theirs = sorted({row["group"] for row in own if row["got"] == "export failed"} - set(ours))
        waiting = sorted(name for name, group in groups.items() if len(group) < len(exporters))
        answer = "yes" if len(whole) == len(groups) else "no" if ours else "yes, wherever there is a file"
        text = f"{framework}: every group whose default head is a pool and linear, norm or MLP layers is lifted by "
        text += f"{' and '.join(exporters)}: **{answer}** ({len(whole)} of {len(groups)}"
        text += f"; not lifted: {', '.join(ours)}" if ours else ""
        text += f"; not exported: {', '.join(theirs)}" if theirs else ""
        text += f"; not run by every exporter yet: {', '.join(waiting)}" if waiting else ""
        result.append(text + ")")
    return result


def _by(rows: list[Row], name: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[name(row)].append(row)
    return groups


def shortfalls(rows: list[Row]) -> list[str]:
    """One sentence for each failure of ours."""
    return [f"{_title(row)}: {_verdict(row)}: {row.get('why', '')} Head: {row['head']}." for row in failures(rows)]


def unexported(rows: list[Row]) -> list[str]:
    """One sentence for each failure of an exporter."""
    failed = (row for row in rows if row["got"] == "export failed")
    return [f"{_title(row)}: {_NO_PAGES.sub('', str(row['why']))}" for row in failed]


def refused(rows: list[Row]) -> list[str]:
    """One sentence for each right refusal."""
    chosen = [row for row in rows if row["got"] == "refused" and not _short(row)]
    return [f"{_title(row)}: {_verdict(row)}: {row.get('why', '')} Head: {row['head']}." for row in chosen]


def _title(row: Row) -> str:
    return f"{row['framework']}, {row['exporter']}, {row['group']} ({row['model']})"


def _verdict(row: Row) -> str:
    return f"{row['got']} ({row['code']})" if row.get("code") else str(row["got"])


def matrix(rows: list[Row]) -> list[tuple[str, ...]]:
    """A line for each group: its model, its head, and by exporter verdict, residual and seconds."""
    exporters = list(dict.fromkeys(row["exporter"] for row in rows))
    lines = []
    for group in _by(rows, lambda row: f"{row['group']}/{row['model']}").values():
        found = {row["exporter"]: row for row in group}
        first = group[0]
        pools = {True: "yes", False: "no"}.get(first["pools"], "")
        head = (first["group"], first["model"], pools, first["head"])
        lines.append((*head, *(_cell(found[name]) if name in found else "" for name in exporters)))
    return [("group", "model", "pools", "default head", *exporters), *lines]


def _cell(row: Row) -> str:
    if row["got"] in LIFTED:
        size = "x".join(map(str, row["size"]))
        seconds = f"{row.get('export_seconds') or 0:.0f}+{row.get('check_seconds') or 0:.0f} s"
        compared = "" if row["cells"] else ", mean alone checked"
        return f"{row['got']}, {size}, {row['mean_residual']:.0e}{compared}, {seconds}"
    return _verdict(row)


def _table(table: list[tuple[str, ...]]) -> list[str]:
    heading, *body = ([cell.replace("|", "\\|") for cell in line] for line in table)
    lines = [f"| {' | '.join(heading)} |", "|" + "---|" * len(heading)]
    return lines + [f"| {' | '.join(line)} |" for line in body]


def text(rows: list[Row]) -> str:
    """For a terminal: totals, claims, shortfalls."""
    table = totals(rows)
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    lines += ["", *(claim.replace("**", "") for claim in claims(rows))]
    lines += ["", "Falls short", *(f"  {line}" for line in shortfalls(rows) or ["nothing"])]
    return "\n".join([*lines, "", "Exporters that failed", *(f"  {line}" for line in unexported(rows) or ["none"])])


def section(rows: list[Row], whole: int) -> list[str]:
    """The section of one framework in the page.

    Args:
        rows: its results, all of the same versions (`results.made_with`).
        whole: how many cases there are; fewer results than that are said to be so.

    Returns:
        Lines of Markdown.
    """
    framework = rows[0]["framework"]
    dates = sorted({row["date"] for row in rows})
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    made = rows[0]["made_with"]
    limits = sorted({tuple(row["limits"]) for row in rows})
    allowed = " or ".join(f"{export:.0f} s to export and {check:.0f} s to lift and check" for export, check in limits)
    lines = [
        f"## {framework} ({span})",
        "",
        f"Generated by `{COMMAND} ZOO={framework}`; do not edit. "
        + (
            f"All {whole} cases."
            if len(rows) == whole
            else f"**{len(rows)} of {whole} cases**: the others were not run."
        ),
        "",
        f"- Exported by {_versions(made['framework'])}.",
        f"- Lifted and checked by {_versions(made['checked'])}.",
        f"- At most {allowed}.",
        "",
        *_table(totals(rows)[:-1]),
        "",
        *(f"- {claim}" for claim in claims(rows)),
    ]
    for title, entries in (
        ("Falls short", shortfalls(rows)),
        ("Exporters that failed", unexported(rows)),
        ("Refused rightly", refused(rows)),
    ):
        lines += [
            "",
            f"### {framework}: {title[0].lower()}{title[1:]}",
            "",
            *(f"- {entry}" for entry in entries or ["none"]),
        ]
    return [*lines, "", f"### {framework}: each model", "", *_table(matrix(rows))]


def _versions(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())
