"""Text for a terminal: what is about to be compared, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnx_gapmil.data.unjudged import unjudged_sentences
from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import column_percent, column_range, of_are, of_were, were
from onnx_gapmil.show.terminal.sizes import size_lines
from onnx_gapmil.validation.comparing.sentences import (
    sentences,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from onnx_gapmil.validation.comparing.result import Comparison
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Sides


def conditions_note(sides: Sides, resumed: int, total: int, why: str) -> RenderableType:
    """What is assumed, before anything is compared.

    Args:
        sides: what is compared.
        resumed: images that an earlier run has compared.
        total: images of this run, or of its shard.
        why: an earlier run is not gone on with; "" where it is, or there was none.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for which, side in (("old", sides.old), ("new", sides.new)):
        _add_side(table, which, side)
    table.add_row("classes", sides.alignment.source)
    table.add_row("data", sides.data.source)
    for note in sides.notes:
        table.add_row("", note)
    if sides.unplaced:
        table.add_row("grids", f"not compared: {sides.unplaced}")
    provider = sides.new.classifier.session.provider
    table.add_row("running on", f"{provider['used']}: {provider['reason']}")
    if why:
        table.add_row("anew", why)
    if total < len(sides.shots):
        table.add_row("shard", f"{of_are(total, len(sides.shots), 'image')} compared in this run")
    if resumed:
        table.add_row("resumed", f"{of_were(resumed, total, 'image')} compared by an earlier run")
    return Group(table, Text())


def _add_side(table: Table, which: str, side: OpenedSide) -> None:
    classifier = side.classifier
    pooled = "" if side.aggregator.name == "mean" else f", pooled by {side.aggregator.key}"
    pooled += ", stitched" if classifier.session.stitch > 1 else ""
    table.add_row(
        which, f"{classifier.name}  ({classifier.head.said_verdict}, output '{classifier.head.output}'{pooled})"
    )
    for line in size_lines(classifier.rewrite.size, [classifier.head.places]):
        table.add_row("", line)
    table.add_row("", f"{side.preprocess.describe()}: {side.preprocess_source}")
    table.add_row("", " ".join(part for part in (side.labels_source, classifier.class_names.source) if part))
    if classifier.head.note:
        table.add_row("", classifier.head.note)


def compare_note(found: Comparison, folder: Path) -> RenderableType:
    """What was found: sentences first, then the figures, then where the rest is."""
    lines = [*sentences(found), *(visible(line) for line in unjudged_sentences(found.slice_columns))]
    parts: list[RenderableType] = [Text(line) for line in lines]
    parts += [Text(), _figures(found), Text()]
    if found.failed:
        parts.append(Text(f"{were(found.failed, 'image')} kept out:", style="yellow"))
        parts += [Text(f"  {failure.error}") for failure in found.failures[:10]]
        if found.failed > 10:
            parts.append(Text(f"  and {found.failed - 10:,} more, in compare.json"))
        parts.append(Text())
    tables = "images.parquet, classes.parquet" if found.classes else "images.parquet"
    parts.append(Text(f"In {folder}/: report.html, compare.json, {tables}"))
    return Group(*parts)


def _figures(found: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in ("figure", "value", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    present = found.agreement.present
    rows: list[tuple[str, str, float | None]] = [
        ("same classes present", "agreement.present", present),
        ("same answer" if present is None else "same highest class", "agreement.top1", found.agreement.top1),
        ("shared among the first five", "agreement.top5", found.agreement.top5),
        ("cells that another class wins", "grids.winners_changed", found.grids.winners_changed),
        ("evidence that moved", "grids.moved.share", found.grids.moved.share),
    ]
    for name, key, value in rows:
        if value is not None:
            table.add_row(name, column_percent(value), column_range(found.intervals[key]))
    if found.grids.correlation is not None:
        low, high = found.intervals["grids.correlation"]
        table.add_row("correlation of the evidence", f"{found.grids.correlation:.3f}", f"{low:.3f} to {high:.3f}")
    drift = found.drift
    table.add_row("drift of logits, mean and largest", f"{drift.logits.mean:.3g}, {drift.logits.max:.3g}", "")
    table.add_row("drift of probabilities", f"{drift.probabilities.mean:.3g}, {drift.probabilities.max:.3g}", "")
    return table
