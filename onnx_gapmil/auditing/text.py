"""Text for a terminal: what an audit is about to do, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import (
    column_percent,
    column_range,
    count,
    of_were,
    percent,
    percent_range,
    points,
    points_range,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from onnx_gapmil.auditing import AuditSummary, PreparedData
    from onnx_gapmil.prediction.classifier import Classifier


def conditions_note(classifier: Classifier, prepared: PreparedData, resumed: int = 0) -> RenderableType:
    """What is assumed, before anything is measured."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    provider = classifier.session.provider
    table.add_row("model", f"{classifier.name}  ({classifier.head.said_verdict}, output '{classifier.head.output}')")
    if classifier.session.proof is not None:
        table.add_row("proof", classifier.session.proof.describe())
    table.add_row("data", prepared.data.source)
    for note in prepared.data.notes:
        table.add_row("", note)
    table.add_row("preprocessing", prepared.preprocess.preprocess.describe())
    table.add_row("", prepared.preprocess.source)
    table.add_row("classes", prepared.class_map.source)
    table.add_row("names", classifier.class_names.source)
    table.add_row("running on", f"{provider['used']}: {provider['reason']}")
    if classifier.head.note:
        table.add_row("note", classifier.head.note)
    if resumed:
        table.add_row("resumed", f"{of_were(resumed, len(prepared.samples), 'image')} measured by an earlier run")
    parts: list[RenderableType] = [table, Text()]
    if prepared.ranking is not None:
        from onnx_gapmil.show.terminal.ranking import ranking_table

        parts = [ranking_table(prepared.ranking, rows=12), Text(), *parts]
    return Group(*parts)


def audit_note(summary: AuditSummary, folder: Path) -> RenderableType:
    """What was found: sentences first, then the aggregators, then where the rest is."""
    lines = [_accuracy(summary), *_foreground(summary), *_causes(summary), *_places(summary), *_several(summary)]
    parts: list[RenderableType] = [Text(line) for line in lines]
    parts += [Text(), _aggregators(summary), Text(), *_failures(summary)]
    parts.append(Text(f"In {folder}/: report.html, summary.json, images.parquet, classes.parquet"))
    return Group(*parts)


def _accuracy(summary: AuditSummary) -> str:
    low, high = summary.intervals["top1"]
    right = round(summary.top1 * summary.images)
    return (
        f"Whole image: {right:,} of {summary.images:,} right at top-1 ({percent(summary.top1)}, 95 % interval "
        f"{percent_range((low, high))}), {percent(summary.top5)} at top-5."
    )


def _foreground(summary: AuditSummary) -> list[str]:
    if summary.foreground is None:
        return ["No boxes or masks were given: what lies on the object is not known, and not measured."]
    parts = ((summary.foreground.right, "Answered rightly"), (summary.foreground.wrong, "Answered wrongly"))
    return [
        f"{when} ({part.images:,}): the true class wins a cell on the object in {percent(part.any_top1)}; "
        f"it wins {percent(part.cell_share)} of the object's cells and {percent(part.background_share)} of the others."
        for part, when in parts
        if part.images
    ]


def _causes(summary: AuditSummary) -> list[str]:
    causes = summary.error_causes
    if causes is None or not causes.total:
        return []
    won = causes.dilution + causes.distraction
    lines = [
        f"Errors in which the true class wins a cell on the object: {won} of {causes.total} "
        f"(dilution {causes.dilution}, distraction {causes.distraction}); in {causes.absent} it wins none."
    ]
    wrong = summary.foreground.wrong if summary.foreground is not None else None
    if wrong is not None and wrong.control_any_top1 is not None and wrong.excess is not None:
        bounds = points_range(summary.intervals["foreground.wrong.excess"])
        said = (
            "evidence that the mean loses"
            if summary.cells_know_better
            else "the interval holds 0, so that the cells may know no better than the answer"
        )
        lines.append(
            f"Control: a class ranked beside it for the whole image wins one in {percent(wrong.control_any_top1)}; "
            f"excess {points(wrong.excess)} points (95 % interval {bounds}): {said}."
        )
    return lines


def _places(summary: AuditSummary) -> list[str]:
    lines = []
    if summary.pointing_game is not None:
        lines.append(
            f"Pointing game {percent(summary.pointing_game)}; the photo's centre alone gets "
            f"{percent(summary.pointing_game_centre)}."
        )
    background = summary.background
    if background is not None and background.share is not None:
        lines.append(
            f"Evidence outside the object: {percent(background.share)}; a centred box of the same size "
            f"would leave {percent(background.centred_box)} outside."
        )
    if summary.maxboxacc_v2 is not None:
        boxes = summary.localization
        centred = (
            f"; a box in the photo's centre gets {percent(boxes.centre_box.shares.mean)}" if boxes is not None else ""
        )
        lines.append(f"MaxBoxAccV2 {percent(summary.maxboxacc_v2)}{centred}.")
    if summary.pxap is not None:
        lines.append(f"PxAP {percent(summary.pxap)}.")
    lines.append(f"Calibration error (ECE) {percent(summary.calibration.ece)}.")
    return lines


def _several(summary: AuditSummary) -> list[str]:
    several = summary.several_objects
    if several is None:
        return []
    return [
        f"Several objects in one photo (photos: {several.images}, objects: {several.objects}): the grid finds "
        f"{several.grid}, top-1 names {several.top1}, top-5 {several.top5}."
    ]


def _aggregators(summary: AuditSummary) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("aggregator")
    for heading in ("top-1", "95 % interval", "top-5", "macro top-1"):
        table.add_column(heading, justify="right")
    for name, values in summary.aggregators.items():
        table.add_row(
            f"{name} (the model's own)" if name == "mean" else name,
            column_percent(values.top1),
            column_range(values.interval),
            column_percent(values.top5),
            column_percent(values.macro_top1),
        )
    return table


def _failures(summary: AuditSummary) -> list[RenderableType]:
    if not summary.failed:
        return []
    lines = [Text(f"{count(summary.failed, 'image')} kept out:", style="yellow")]
    lines += [Text(f"  {visible(failure.error)}") for failure in summary.failures[:10]]
    if summary.failed > 10:
        lines.append(Text(f"  and {summary.failed - 10:,} more, in summary.json"))
    return [*lines, Text()]
