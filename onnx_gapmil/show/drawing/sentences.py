"""The sentences on a picture: what was found, how to read it, and what to keep in mind."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx_gapmil.show.drawing.scores import Scores

_CELLS = (
    "Each cell has a logit for every class, by the model's own head; {pooled}. "
    "Rows and columns count from 0 at the top left. "
)
_MEAN = "their mean over the cells is the image's logit"
_REPOOLED = "the image's logits are '{pool}' of the cells, and not their mean"
_BY_SHARE = (
    "A cell has the colour of its highest class, the stronger the larger that class's share of the cell's softmax. "
    "Boxes surround the largest connected areas where that share is at least half{boxed}."
)
_BY_LEAD = (
    "Scores are logits, no probabilities: a cell has the colour of its highest class, the stronger the further "
    "that logit lies above the next class's (here by {lead:.2f} at the most). Boxes surround the largest connected "
    "areas where one class outweighs all others together{boxed}."
)
_BY_ITSELF = (
    "Each class has a probability of its own. A cell has the colour of the class that is furthest above its threshold"
    "{level}, the stronger the higher that class's probability; where no class is above its threshold it has no "
    "colour. Boxes surround the largest connected areas where a class is above it{boxed}."
)
_ONE_LOGIT = "The head has one logit: above 0 it speaks for one class, below 0 for the other. "
_BY_SIGN = (
    "A cell has the colour of its class, the stronger the more probable that is there. Boxes surround the largest "
    "connected areas of a class{boxed}."
)
#: Which areas have a box in the picture; the results list the smaller ones, too.
_BOXED = ": one a class, of {least} cells or more"
#: The share of all cells that an area with a box has at the least.
_LEAST = 0.03


def least_boxed(cells: int) -> int:
    """How many of so many cells an area must have to get a box in the picture."""
    return max(2, math.ceil(_LEAST * cells))


@dataclass(frozen=True, slots=True)
class Caption:
    """What a picture says of where it comes from.

    Attributes:
        title: the first line, such as the photo's name.
        model: the second, such as the model's name and its head's verdict.
        preprocessing: how the photo became the model's input, in short; "" if there is nothing to say.
        guessed: what of that is a guess, such as ``color guessed``; "" if nothing is.
        notes: sentences that a reader of the picture must know, such as what a position-dependent head is.
        pool: what makes the image's logits of the cells: ``mean``, or the aggregator that the model was repooled with.
    """

    title: str
    model: str
    preprocessing: str = ""
    guessed: str = ""
    notes: tuple[str, ...] = ()
    pool: str = "mean"


def how_to_read(scores: Scores, pool: str = "mean") -> str:
    """What cells, colours and boxes mean, for heads with and without probabilities.

    Args:
        scores: what is drawn.
        pool: what makes the image's logits of the cells.
    """
    boxed = _BOXED.format(least=least_boxed(scores.cells))
    cells = _CELLS.format(pooled=_MEAN if pool == "mean" else _REPOOLED.format(pool=pool))
    if scores.multi_label:
        level = f" (a probability of {scores.level:g})" if scores.level is not None else ""
        return cells + _BY_ITSELF.format(level=level, boxed=boxed)
    start = cells + (_ONE_LOGIT if scores.one_logit else "")
    if scores.largest_lead is not None:
        return start + _BY_LEAD.format(lead=scores.largest_lead, boxed=boxed)
    return start + (_BY_SIGN if scores.one_logit else _BY_SHARE).format(boxed=boxed)


def finding(scores: Scores) -> str:
    """The sentence to remember."""
    answer = scores.of(scores.answer)
    if scores.multi_label:
        return f"{_said_present(scores)} {_said_cells(scores)}"
    said = f"Image level: {answer.name} ({score_text(answer.image, scores)})."
    if scores.winner is None:
        return f"{said} No class wins a cell: in each, two are equally high."
    winner = scores.of(scores.winner)
    total = f"{scores.cells} ({percent(winner.share)})"
    if len(scores.tied) > 1:
        return f"{said} {_said_tie(scores)}"
    if answer.index == winner.index:
        amount = "all" if winner.won == scores.cells else "most" if winner.share > 0.5 else "the largest share of the"
        return f"{said} The same class wins {amount} cells: {winner.won} of {total}."
    verb = "Most cells disagree" if winner.share > 0.5 else "No class wins most cells"
    return f"{said} {verb}: {winner.name} wins {winner.won} of {total}, {answer.name} {answer.won}."


def _said_present(scores: Scores) -> str:
    present = [scores.of(index) for index in scores.present]
    if not present:
        answer = scores.of(scores.answer)
        return f"Image level: no class is above its threshold; nearest is {answer.name} ({percent(answer.image)})."
    named = ", ".join(f"{entry.name} ({percent(entry.image)})" for entry in present[:4])
    more = f" and {len(present) - 4} more" if len(present) > 4 else ""
    return f"Image level: {named}{more}."


def _said_tie(scores: Scores) -> str:
    """That several classes win as many cells as any: of the image's class, if it is one of them."""
    answer = scores.of(scores.answer)
    among = answer.index in scores.tied
    first = answer if among else scores.of(scores.tied[0])
    amount = f"{first.won} of {scores.cells} ({percent(first.share)})"
    if among:
        return f"The same class wins {amount} cells, {_as_many(scores, first.index)}."
    said = f"No class wins most cells: {first.name} wins {amount}, {_as_many(scores, first.index)}"
    return f"{said}; {answer.name} {answer.won}."


def _as_many(scores: Scores, index: int) -> str:
    """The others that win as many cells as a class."""
    others = [scores.of(other).name for other in scores.tied if other != index]
    return f"as many as {others[0]}" if len(others) == 1 else f"as many as each of {len(others)} others"


def _said_cells(scores: Scores) -> str:
    if scores.winner is None:
        return f"No class is above its threshold in any of the {scores.cells} cells."
    winner = scores.of(scores.winner)
    most = f"{winner.name} wins {winner.won} of {scores.cells} cells ({percent(winner.share)})"
    if len(scores.tied) > 1:
        most += f", {_as_many(scores, winner.index)}"
    if not scores.nobody:
        return f"{most}."
    return f"{most}; in {scores.nobody} ({percent(scores.nobody / scores.cells)}) no class is above its threshold."


def score_text(value: float, scores: Scores) -> str:
    """A score: a probability as percentage, or a logit."""
    return percent(value) if scores.probabilities else f"{value:.2f}"


def percent(share: float) -> str:
    """A share as percentage, never rounded to 0 or to all."""
    value = 100 * share
    if 0 < value < 0.1:
        return "<0.1 %"
    if 99 < value < 100:
        return f"{math.floor(10 * value) / 10} %" if value < 99.9 else ">99.9 %"
    return f"{value:.1f} %" if value < 10 and value else f"{value:.0f} %"
