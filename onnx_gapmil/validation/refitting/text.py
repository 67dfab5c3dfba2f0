"""Text for a terminal: what a fit found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import column_percent, count, percent, points, points_range
from onnx_gapmil.show.terminal.repool_note import repool_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from onnx_gapmil.fitting.pooling.judging import Difference, Judgement
    from onnx_gapmil.validation.refitting.result import FitData, PoolFit

#: The figures, for people.
SAID = {"accuracy": "accuracy", "log_likelihood": "log-likelihood", "mean_average_precision": "mAP"}


def fit_note(found: PoolFit) -> RenderableType:
    """What a fit found, and what became of it."""
    data = found.data
    lines: list[RenderableType] = [
        line_of(
            f"Fitted '{found.fit}' to {count(data.fitted, 'image')}; its ridge is "
            f"{'infinite: nothing moves' if found.ridge == float('inf') else f'{found.ridge:g}'}, "
            f"{'found by folds of these' if found.costs else 'as given'}."
        )
    ]
    if not found.converged:
        lines.append(line_of("Note: L-BFGS stopped at its last step, before there was nothing to gain."))
    if data.without_images:
        lines.append(line_of(f"{said_without_images(data)}; what the vendor gave them is kept."))
    lines += [line_of(f"Kept out: {text}") for text in data.unreadable[:SHOWN]]
    names = {"calibrated": f"calibrated only ({found.under})", "fitted": f"fitted ({found.fit})"}
    lines += judged_lines(data, found.held_out, "the other half, which neither fit nor tuning saw", names)
    if found.folds is not None:
        said = f"{found.fold_count} folds, each by a fit to the others"
        lines += judged_lines(data, found.folds, said, names)
    if found.unseen is not None:
        unseen = found.unseen
        lines.append(
            line_of(
                f"Of classes that a fit has seen no image of ({count(unseen.images, 'image')}): vendor "
                f"{percent(unseen.vendor)}, fitted {percent(unseen.fitted)}, {points(unseen.difference)} points "
                f"[{points_range(unseen.interval)}]."
            )
        )
    if found.reason:
        lines.append(Text.assemble(("Not written", "bold red"), visible(f": {found.reason}.")))
    decides = found.held_out.difference(found.held_out.main)
    if not found.reason and decides.value < 0:
        why = "which --force overrules" if decides.interval[1] < 0 else "by less than these images tell from 0"
        lines.append(line_of(f"Note: its {SAID[decides.figure]} is below the vendor's, {why}."))
    if found.repool is not None:
        lines.append(repool_note(found.repool))
    return Group(*lines)


#: Images and classes that are named.
SHOWN = 5


def said_without_images(data: FitData) -> str:
    """Which classes no image of the fitted half has."""
    names = data.without_images_names
    named = ", ".join([*names[:SHOWN], *([f"{len(names) - SHOWN:,} more"] if len(names) > SHOWN else [])])
    return f"Without an image there, {len(names):,} of {count(data.logits, 'class', 'classes')}: {named}"


def line_of(text: str) -> Text:
    """A line of plain text."""
    return Text(visible(text))


def judged_lines(data: FitData, judgement: Judgement, what: str, names: Mapping[str, str]) -> list[RenderableType]:
    """Vendor, calibrated only and fitted side by side, and how they differ.

    Args:
        data: the images.
        judgement: of them.
        what: these images are.
        names: of ``calibrated`` and ``fitted``.
    """
    several = judgement.classes is not None
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(f"{count(judgement.images, 'image')}: {what}", overflow="fold")
    for title in ("accuracy", "log-likelihood", *(["mAP"] if several else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for name, said in {"vendor": "vendor", **names}.items():
        row = judgement.figures[name]
        cells = [column_percent(row.accuracy), f"{row.log_likelihood:.3f}"]
        if several:
            cells.append(column_percent(row.mean_average_precision))
        table.add_row(visible(said), *cells)
    lines = [line_of(_difference(entry)) for entry in judgement.differences if entry.new == "fitted"]
    if judgement.groups is not None:
        of = f"column '{data.group_column}'" if data.group_column else "the same content"
        lines.append(line_of(f"The intervals draw the {count(judgement.groups, 'group')} of {of}, and not the images."))
    return [Text(), table, *lines]


def _difference(found: Difference) -> str:
    if found.figure == "log_likelihood":
        value, span = f"{found.value:+.3f}", f"{found.interval[0]:+.3f} to {found.interval[1]:+.3f}"
    else:
        value, span = f"{points(found.value)} points", points_range(found.interval)
    needed = found.images_to_resolve
    less = {"vendor": "vendor", "calibrated": "calibrated only"}[found.old]
    text = f"fitted less {less}: {SAID[found.figure]} {value} [{span}]"
    if needed is not None and found.interval[0] <= 0 <= found.interval[1]:
        text += f"; some {needed:,} images would tell such a difference from 0"
    return text
