"""Text for a terminal: what an audit is about to do, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from onnx_gapmil.auditing import AuditSummary, Exhibit, Subject


def exhibit_note(subject: Subject, exhibit: Exhibit, resumed: int = 0) -> RenderableType:
    """What is assumed, before anything is measured."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    provider = subject.session.provider
    table.add_row("model", f"{subject.path}  ({subject.head.verdict}, output '{subject.head.output}')")
    table.add_row("data", exhibit.data.source)
    for note in exhibit.data.notes:
        table.add_row("", note)
    table.add_row("preprocessing", exhibit.preprocess.preprocess.describe())
    table.add_row("", exhibit.preprocess.source)
    table.add_row("classes", exhibit.class_map.source)
    table.add_row("names", subject.names_source)
    table.add_row("running on", f"{provider['used']}: {provider['reason']}")
    if subject.head.note:
        table.add_row("note", subject.head.note)
    if resumed:
        table.add_row("resumed", f"{resumed} of {len(exhibit.samples)} images were measured by an earlier run")
    parts: list[RenderableType] = [table, Text()]
    if exhibit.ranking is not None:
        from onnx_gapmil.show.terminal.ranking import ranking_table

        parts = [ranking_table(exhibit.ranking, rows=12), Text(), *parts]
    return Group(*parts)


def audit_note(summary: AuditSummary, folder: Path) -> RenderableType:
    """What was found: sentences first, then the aggregators, then where the rest is."""
    found = summary.to_json()
    lines = [_accuracy(found), *_foreground(found), *_causes(found), *_places(found), *_several(found)]
    parts: list[RenderableType] = [Text(line) for line in lines]
    parts += [Text(), _aggregators(found), Text(), *_failures(found)]
    parts.append(Text(f"In {folder}/: report.html, summary.json, images.parquet, classes.parquet"))
    return Group(*parts)


def percent(share: float | None) -> str:
    """A share as text; a dash where it was not measured."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _accuracy(found: dict[str, Any]) -> str:
    low, high = found["intervals"]["top1"]
    right = round(found["top1"] * found["images"])
    return (
        f"Whole image: {right} of {found['images']} right at top-1 ({percent(found['top1'])}, 95 % interval "
        f"{percent(low)} to {percent(high)}), {percent(found['top5'])} at top-5."
    )


def _foreground(found: dict[str, Any]) -> list[str]:
    foreground = found.get("foreground")
    if not foreground:
        return ["No boxes or masks were given: what lies on the object is not known, and not measured."]
    lines = []
    for key, when in (("right", "Answered rightly"), ("wrong", "Answered wrongly")):
        part = foreground[key]
        if part and part["images"]:
            lines.append(
                f"{when} ({part['images']}): the true class wins a cell on the object in {percent(part['any_top1'])}; "
                f"it wins {percent(part['cell_share'])} of the object's cells and "
                f"{percent(part['background_share'])} of the others."
            )
    return lines


def _causes(found: dict[str, Any]) -> list[str]:
    causes = found.get("error_causes")
    if not causes or not sum(causes.values()):
        return []
    lost = causes["dilution"] + causes["distraction"]
    absent = f" In {causes['absent']} no cell on the object has the true class on top." if causes["absent"] else ""
    return [
        f"Recoverable errors: {lost} of {sum(causes.values())}. There the mean lost what cells on the object know "
        f"(dilution {causes['dilution']}, distraction {causes['distraction']}).{absent}"
    ]


def _places(found: dict[str, Any]) -> list[str]:
    lines = []
    if found.get("pointing_game") is not None:
        lines.append(
            f"Pointing game {percent(found['pointing_game'])}; the photo's centre alone gets "
            f"{percent(found['pointing_game_centre'])}."
        )
    background = found.get("background") or {}
    if found.get("background_reliance") is not None:
        lines.append(
            f"Evidence outside the object: {percent(found['background_reliance'])}; a centred box of the same size "
            f"would leave {percent(background.get('centred_box'))} outside."
        )
    if found.get("maxboxacc_v2") is not None:
        lines.append(f"MaxBoxAccV2 {percent(found['maxboxacc_v2'])}.")
    if found.get("pxap") is not None:
        lines.append(f"PxAP {percent(found['pxap'])}.")
    if found.get("calibration"):
        lines.append(f"Calibration error (ECE) {percent(found['calibration']['ece'])}.")
    return lines


def _several(found: dict[str, Any]) -> list[str]:
    several = found.get("several_objects")
    if not several or not several.get("objects"):
        return []
    return [
        f"Several objects in one photo (photos: {several['images']}, objects: {several['objects']}): the grid finds "
        f"{several['grid']}, top-1 names {several['top1']}, top-5 {several['top5']}."
    ]


def _aggregators(found: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("aggregator")
    for heading in ("top-1", "95 % interval", "top-5", "macro top-1"):
        table.add_column(heading, justify="right")
    for name, values in found["aggregators"].items():
        low, high = values["interval"]
        table.add_row(
            f"{name} (the model's own)" if name == "mean" else name,
            percent(values["top1"]),
            f"{percent(low)} to {percent(high)}",
            percent(values["top5"]),
            percent(values["macro_top1"]),
        )
    return table


def _failures(found: dict[str, Any]) -> list[RenderableType]:
    if not found["failed"]:
        return []
    lines = [Text(f"{found['failed']} image(s) were kept out:", style="yellow")]
    lines += [Text(f"  {failure['error']}") for failure in found["failures"][:10]]
    if found["failed"] > 10:
        lines.append(Text(f"  and {found['failed'] - 10} more, in summary.json"))
    return [*lines, Text()]
