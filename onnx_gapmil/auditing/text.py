"""Text for a terminal: what an audit is about to do, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnx_gapmil.auditing.by_size import localization_changes, row_name, what_changes
from onnx_gapmil.auditing.sentences import multi_label_lines, swap_sentence
from onnx_gapmil.data.unjudged import unjudged_sentences
from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import (
    column_percent,
    column_range,
    count,
    of_are,
    of_were,
    percent,
    percent_range,
    points,
    points_range,
    were,
)
from onnx_gapmil.show.terminal.sizes import size_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import RenderableType

    from onnx_gapmil.auditing import AuditSummary, PreparedData
    from onnx_gapmil.prediction.classifier import Classifier


def conditions_note(
    classifier: Classifier, prepared: PreparedData, resumed: int = 0, total: int | None = None
) -> RenderableType:
    """What is assumed, before anything is measured.

    Args:
        classifier: the model.
        prepared: the data set.
        resumed: images that an earlier run has measured.
        total: images of this run, where it is a shard; None stands for all.
    """
    total = len(prepared.samples) if total is None else total
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
    for place, line in enumerate(size_lines(classifier.rewrite.size, [classifier.head.places])):
        table.add_row("size" if not place else "", line)
    table.add_row("preprocessing", prepared.preprocess.preprocess.describe())
    table.add_row("", prepared.preprocess.source)
    table.add_row("classes", prepared.class_map.source)
    table.add_row("names", classifier.class_names.source)
    table.add_row("running on", f"{provider['used']}: {provider['reason']}")
    if classifier.head.class_token is not None:
        table.add_row("class token", "what has no place is spread evenly over the cells; its share is in the summary")
    if classifier.head.note:
        table.add_row("note", classifier.head.note)
    if total < len(prepared.samples):
        table.add_row("shard", f"{of_are(total, len(prepared.samples), 'image')} measured in this run")
    if resumed:
        table.add_row("resumed", f"{of_were(resumed, total, 'image')} measured by an earlier run")
    parts: list[RenderableType] = [table, Text()]
    if prepared.ranking is not None:
        from onnx_gapmil.show.terminal.ranking import ranking_table

        parts = [ranking_table(prepared.ranking, rows=12), Text(), *parts]
    return Group(*parts)


def audit_note(summary: AuditSummary, folder: Path, names: Mapping[int, str] | None = None) -> RenderableType:
    """What was found: sentences first, then the aggregators, then where the rest is.

    Args:
        summary: what was found.
        folder: where the results are.
        names: of classes, by number; those that are not there are shown by number.
    """
    names = names or {}
    beside = [f"{row.folder}/" for row in summary.sizes if row.folder]
    also = f"; the same of the others in {', '.join(beside)} there" if beside else ""
    ending = Text(f"In {folder}/: report.html, summary.json, images.parquet, classes.parquet{also}")
    if summary.is_at_chance:  # everything else would be said of its guesses
        lines = [*_guess(summary), *_answers(summary, names)]
        lines += [] if summary.foreground is not None else _foreground(summary)
        lines += [visible(line) for line in unjudged_sentences(summary.slice_columns)]
        said = [Text(line) for line in lines]
        return Group(*said, Text(), *_failures(summary), ending)
    lines = [
        *_answers(summary, names),
        *_placeless(summary),
        *_foreground(summary),
        *_causes(summary),
        *_places(summary),
        *_several(summary),
    ]
    lines += [*_suspects(summary), *_slices(summary)]
    parts: list[RenderableType] = [Text(line) for line in lines]
    parts += [Text(), _aggregators(summary), Text(), *_sizes(summary), *_failures(summary)]
    parts.append(ending)
    return Group(*parts)


def _guess(summary: AuditSummary) -> list[str]:
    """First of all, of a model that guesses."""
    what = (
        "The model answers no better than a guess does"
        if summary.multi_label is None
        else "The model ranks labels no better than chance does"
    )
    return [
        f"{what}: is the photo prepared as in training, and are the labels the model's classes? --preprocess auto "
        "tries the common ways. Until then no figure here says anything of the model, and no label is called suspect."
    ]


def _answers(summary: AuditSummary, names: Mapping[int, str]) -> list[str]:
    """How the images are answered: top-1, or of a multi-label head what stands in its place."""
    if summary.multi_label is not None:
        return multi_label_lines(summary, names)
    swaps = [swap_sentence(swap, names) for swap in summary.likely_swaps]
    return [_accuracy(summary), *swaps]


def _placeless(summary: AuditSummary) -> list[str]:
    """How much of the answers no place brings, of a class token."""
    share = summary.head.placeless_share
    if share is None:
        unknown = "Class token: how much of an answer has no place, and is spread evenly, is not known."
        return [unknown] if summary.head.class_token else []
    return [
        f"Class token: {percent(share)} of an answer has no place and is spread evenly; it helps to decide who wins a "
        "cell, also in cells that bring little themselves."
    ]


def _accuracy(summary: AuditSummary) -> str:
    low, high = summary.intervals["top1"]
    right = round(summary.top1 * summary.images)
    five = f", {percent(summary.top5)} at top-5" if _more_than_five(summary) else ""
    return (
        f"Whole image: {right:,} of {summary.images:,} right at top-1 ({percent(summary.top1)}, 95 % interval "
        f"{percent_range((low, high))}){five}."
    )


def _more_than_five(summary: AuditSummary) -> bool:
    """Whether top-5 is a question: of five classes or fewer every answer is among the first five."""
    classes = summary.head.grid_shape[1]
    return not isinstance(classes, int) or classes > 5


def _foreground(summary: AuditSummary) -> list[str]:
    if summary.foreground is None:
        return ["No boxes or masks were given: what lies on the object is not known, and not measured."]
    right, wrong = "Answered rightly", "Answered wrongly"
    if summary.multi_label is not None:
        right, wrong = "With a label as its highest class", "With another highest class"
    parts = ((summary.foreground.right, right), (summary.foreground.wrong, wrong))
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
            f"evidence that {'the mean' if summary.head.pool == 'mean' else summary.head.pool} loses"
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
            f"{percent(summary.pointing_game_centre)}{_beyond(summary, 'pointing_game_excess')}."
        )
    background = summary.background
    if background is not None and background.share is not None:
        lines.append(
            f"Evidence outside the object: {percent(background.share)}; a centred box of the same size "
            f"would leave {percent(background.centred_box)} outside, one anywhere {percent(background.random_box)}."
        )
    lines += _boxes(summary)
    if summary.pxap is not None:
        lines.append(f"PxAP {percent(summary.pxap)}.")
    if summary.multi_label is None:  # of one answer; sigmoids give one for each class
        lines.append(f"Calibration error (ECE) {percent(summary.calibration.ece)}.")
    return lines


def _boxes(summary: AuditSummary) -> list[str]:
    """The three figures of boxes, each beside its baseline."""
    boxes = summary.localization
    if boxes is None:
        return []
    rows = (
        ("MaxBoxAccV2", summary.maxboxacc_v2, boxes.centre_box.shares.mean, "localization"),
        ("MaxBoxAcc (V1)", summary.maxboxacc_v1, boxes.one_box.centre_box.share, "localization.one_box"),
        ("Top-1 localization", summary.top1_localization, boxes.top1.centre_box.share, "localization.top1"),
    )
    return [
        f"{name} {percent(own)}; a box in the middle gets {percent(centre)}{_beyond(summary, f'{place}.excess')}."
        for name, own, centre, place in rows
    ]


def _beyond(summary: AuditSummary, place: str) -> str:
    """The interval of a figure less its baseline."""
    bounds = summary.intervals.get(place)
    if bounds is None:
        return ""
    low, high = (f"{100 * bound:+.1f}" for bound in bounds)
    return f" (difference {low} to {high} points)"


def _suspects(summary: AuditSummary) -> list[str]:
    found = summary.suspect_labels
    if not found.images or summary.multi_label is not None:
        return []
    first = found.listed[0]
    return [
        f"Suspect labels: {found.images} of {found.of}: the model is sure of something else, and no cell knows the "
        f"label. The plainest: {visible(first.image)}, labelled {visible(', '.join(first.label_names))}, answered "
        f"{visible(first.answer_name)} ({percent(first.confidence)})."
    ]


def _slices(summary: AuditSummary) -> list[str]:
    """The worst slice of each column, and what makes no slices."""
    lines: list[str] = []
    unjudged = [visible(line) for line in unjudged_sentences(summary.slice_columns)]
    if summary.multi_label is not None:  # of several labels there is no top-1
        return unjudged
    for column, parts in summary.slices.items():
        value, worst = min(parts.items(), key=lambda entry: entry[1].top1)
        which = visible(summary.slice_columns[column].said(value))
        low, high = worst.intervals["top1"]
        lines.append(
            f"By {visible(column)} ({len(parts)} slices): lowest top-1 {percent(worst.top1)} of {which} "
            f"({count(worst.images, 'image')}, 95 % interval {percent(low)} to {percent(high)})."
        )
    left = [(name, each.left_out) for name, each in summary.slice_columns.items() if each.left_out and each.values > 1]
    return [*lines, *(f"By {visible(name)}: {why}" for name, why in left), *unjudged]


def _several(summary: AuditSummary) -> list[str]:
    several = summary.several_objects
    if several is None or summary.multi_label is not None:
        return []
    return [
        f"Several objects in one photo (photos: {several.images}, objects: {several.objects}): the grid finds "
        f"{several.grid}, top-1 names {several.top1}, top-5 {several.top5}."
    ]


def _titled(name: str, summary: AuditSummary) -> str:
    """An aggregator's name, and whether it is the model's own; of a repooled model the mean is the vendor's.

    Of a stitched grid the mean alone is of the model's own cells.
    """
    if name == summary.head.pool and (name == "mean" or summary.stitch == 1):
        return f"{name} (the model's own)"
    return f"{name} (the vendor's)" if name == "mean" else name


def _aggregators(summary: AuditSummary) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("aggregator")
    if summary.multi_label is not None:
        table.add_column("mean average precision", justify="right")
        for name, values in summary.aggregators.items():
            title = _titled(name, summary)
            table.add_row(title, percent(values.mean_average_precision))
        return table
    five = _more_than_five(summary)
    for heading in ("top-1", "95 % interval", *(["top-5"] if five else []), "macro top-1"):
        table.add_column(heading, justify="right")
    for name, values in summary.aggregators.items():
        table.add_row(
            _titled(name, summary),
            column_percent(values.top1),
            column_range(values.interval),
            *([column_percent(values.top5)] if five else []),
            column_percent(values.macro_top1),
        )
    return table


def _sizes(summary: AuditSummary) -> list[RenderableType]:
    """A row for each size, and what changes; nothing of an audit of one."""
    if not summary.sizes:
        return []
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("size")
    for heading in ("cells", "top-1", "less first", "label wins a cell", "control", "pointing", "MaxBoxAccV2", "ECE"):
        table.add_column(heading, justify="right")
    for row in summary.sizes:
        change = row.top1_difference
        table.add_row(
            row_name(row),
            f"{row.grid[0]}x{row.grid[1]}",
            column_percent(row.top1),
            "" if change is None else f"{points(change.value)} ({points_range(change.interval)})",
            column_percent(row.recovery),
            column_percent(row.control),
            column_percent(row.pointing_game),
            column_percent(row.maxboxacc_v2),
            column_percent(row.ece),
        )
    lines = [*what_changes(summary.sizes), *localization_changes(summary.sizes)]
    lines += [f"{row_name(row)}: {row.note}." for row in summary.sizes if row.note]
    return [table, *(Text(line) for line in lines), Text()]


def _failures(summary: AuditSummary) -> list[RenderableType]:
    if not summary.failed:
        return []
    lines = [Text(f"{were(summary.failed, 'image')} kept out:", style="yellow")]
    lines += [Text(f"  {visible(failure.error)}") for failure in summary.failures[:10]]
    if summary.failed > 10:
        lines.append(Text(f"  and {summary.failed - 10:,} more, in summary.json"))
    return [*lines, Text()]
