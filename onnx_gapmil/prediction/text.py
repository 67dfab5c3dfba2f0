"""What a head says of a photo, in lines for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnx_gapmil.files.wording import count, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.prediction.head_answer import ChosenClass, ClassScore, HeadPrediction

#: Classes that win cells, and boxes, that are listed.
_WINNERS = 6
_BOXES = 4


def head_lines(head: HeadPrediction, *, several: bool) -> list[str]:
    """A few lines about one head's answer.

    Args:
        head: the answer.
        several: whether the model has other heads, so that this one's name is said.
    """
    prefix = f"{head.output}: " if several else ""
    if head.features_of:
        made = ", ".join(map(repr, head.features_of))
        return [f"{prefix}{len(head.logits):,} features that {made} {_is(head.features_of)} made of, and no classes"]
    winners = ", ".join(f"{entry.label} {entry.cells}" for entry in head.winners[:_WINNERS])
    more = f", {count(len(head.winners) - _WINNERS, 'more class')}" if len(head.winners) > _WINNERS else ""
    nobody = [f"none {head.none_cells}"] if head.none_cells else []
    lines = [
        f"{prefix}whole image  {_whole(head)}",
        f"{head.size_text} cells  {', '.join([winners + more, *nobody] if winners else nobody)}",
        *(f"class        {_chosen(head, entry)}" for entry in head.chosen or ()),
    ]
    for box in head.boxes[:_BOXES]:
        x0, y0, x1, y1 = box.box
        cells = count(box.cells, "cell")
        lines.append(f"box          {box.label}: x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f} ({cells})")
    if len(head.boxes) > _BOXES:
        lines.append(f"             {count(len(head.boxes) - _BOXES, 'more box', 'more boxes')}, none larger")
    return lines


def _whole(head: HeadPrediction) -> str:
    """The image-level answer: the first classes; of a multi-label head what is present."""
    if head.present is None:
        return f"{_scores(head, head.top)}{' (logits)' if head.reading.activation == 'none' else ''}"
    if head.present:
        shown = head.present[: max(1, len(head.top))]
        more = f", {len(head.present) - len(shown)} more" if len(head.present) > len(shown) else ""
        return f"present: {_scores(head, shown)}{more}"
    return f"none of {len(head.logits):,} classes is present; nearest to its threshold: {_scores(head, head.top[:1])}"


def _chosen(head: HeadPrediction, entry: ChosenClass) -> str:
    place = ", ".join(map(str, entry.best_cell))
    rank = "" if entry.present is None else (" (present)" if entry.present else " (below its threshold)")
    if entry.present is None:
        rank = f" (rank {entry.rank:,} of {len(head.logits):,})"
    unknown = math.isnan(entry.best_score)
    best = f"{entry.best_logit:.2f} (logit)" if unknown else _number(head, entry.best_score)
    won = count(entry.cells, "cell")
    return f"{entry.label} {_number(head, entry.score)}{rank}; wins {won}, best cell ({place}) {best}"


def _scores(head: HeadPrediction, entries: Sequence[ClassScore]) -> str:
    return ", ".join(f"{entry.label} {_number(head, entry.score)}" for entry in entries)


def _number(head: HeadPrediction, score: float) -> str:
    return f"{score:.2f}" if head.reading.activation == "none" else percent(score)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
