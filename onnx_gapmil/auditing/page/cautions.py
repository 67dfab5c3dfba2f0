"""What a reader should know before relying on the numbers."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.data.unjudged import unjudged_sentences
from onnx_gapmil.files.printable import visible
from onnx_gapmil.show.html.formatting import count, percent

#: Above this share of evidence from outside the object the page warns, whatever the baselines.
HIGH_BACKGROUND = 0.5
#: How close the pointing game may come to its centre baseline before the page says that it shows little.
CLOSE_TO_CENTRE = 0.05
#: Expected calibration error above which confidences should not be read as probabilities.
HIGH_ECE = 0.1
#: How far the outermost cells may exceed their share of cells before the page warns.
LOUD_EDGES = 1.25
FEW_IMAGES = 100


@dataclass(frozen=True)
class Caution:
    """A title of a few words and a sentence or two."""

    title: str
    text: str


def cautions_of(summary: AuditSummary) -> list[Caution]:
    """All cautions that a summary gives rise to, the gravest first."""
    found = (rule(summary) for rule in (_OF_A_GUESS if summary.is_at_chance else _RULES))
    return [caution for caution in found if caution is not None]


def _failed(summary: AuditSummary) -> Caution | None:
    if not summary.failed:
        return None
    return Caution(
        f"{count(summary.failed, 'image')} could not be measured.",
        "They are named below and kept out of every number.",
    )


def _chance(summary: AuditSummary) -> Caution | None:
    if not summary.is_at_chance:
        return None
    what = "is right no more often than guessing is" if summary.multi_label is None else "ranks labels as chance does"
    return Caution(
        f"The model {what}.",
        "Are the photos prepared as in training, and are the labels the model's classes? Until then no figure here "
        "says anything of the model, and no label is called suspect.",
    )


def _no_objects(summary: AuditSummary) -> Caution | None:
    if summary.foreground is not None:
        return None
    return Caution(
        "No boxes or masks.",
        "The data do not say where the objects are, so nothing here tells object from background.",
    )


def _head(summary: AuditSummary) -> Caution | None:
    if summary.verdict == "conditional":
        own = summary.head.pool == "mean"
        answer = "The cells' mean is the model's answer" if own else "The cells' mean is what the head computes"
        return Caution(
            "The head is conditional.",
            f"{answer}, but a cell's value also depends on the rest of the image: "
            "read a cell as its share in this answer, not as an answer to the cell alone.",
        )
    return None


def _pool(summary: AuditSummary) -> Caution | None:
    if summary.head.pool == "mean":
        return None
    return Caution(
        "The model is repooled.",
        f"Its answers are by '{summary.head.pool}' of the cells, and not by their mean, which is the vendor's.",
    )


def _positions(summary: AuditSummary) -> Caution | None:
    if not summary.head.position_dependent:
        return None
    return Caution(
        "The head is position-dependent.",
        "Each cell has weights of its own, so cells of equal content may answer differently.",
    )


def _rounding(summary: AuditSummary) -> Caution | None:
    if not summary.head.quantized:
        return None
    return Caution(
        "The head computes in integers.", "Cells and the model's own answer agree up to rounding, not to the last bit."
    )


def _background(summary: AuditSummary) -> Caution | None:
    background = summary.background
    if background is None or background.share is None:
        return None
    share, random = background.share, background.random_box
    if random is not None and share >= random:
        return Caution(
            "The evidence follows the object no better than a random box.",
            f"{percent(share)} of it lies outside the marked object, "
            f"{percent(random)} outside a box of its size anywhere.",
        )
    if share < HIGH_BACKGROUND:
        return None
    return Caution(
        "Much of the evidence is background.",
        f"{percent(share)} of it lies outside the marked object"
        + (f", against {percent(random)} outside a box of its size anywhere." if random is not None else "."),
    )


def _centre(summary: AuditSummary) -> Caution | None:
    game, centre = summary.pointing_game, summary.pointing_game_centre
    if game is None or centre is None or game - centre > CLOSE_TO_CENTRE:
        return None
    return Caution(
        "The pointing game shows little here.",
        f"The best cell lies on the object in {percent(game)}, but so does the middle of the image in "
        f"{percent(centre)}: the objects are centred.",
    )


def _calibration(summary: AuditSummary) -> Caution | None:
    error = summary.calibration.ece
    # Of sigmoids each class is an answer of its own, and what is measured here is of the highest alone.
    if error <= HIGH_ECE or summary.multi_label is not None:
        return None
    return Caution(
        "Confidence is not probability.",
        f"On these images it misses the accuracy by {percent(error)} on average (expected calibration error, which "
        "chance alone keeps above 0).",
    )


def _edges(summary: AuditSummary) -> Caution | None:
    if summary.edges is None:
        return None
    evidence, ring = summary.edges.evidence, summary.edges.ring_cells
    if evidence is None or ring is None or evidence <= LOUD_EDGES * ring:
        return None
    return Caution(
        "The edges speak loudly.",
        f"The outermost cells are {percent(ring, 0)} of all and hold {percent(evidence, 0)} of the evidence. Padding "
        "does that, and so do objects at the edge: which of them it was is not measured.",
    )


def _few(summary: AuditSummary) -> Caution | None:
    if summary.images >= FEW_IMAGES:
        return None
    return Caution(
        f"Only {count(summary.images, 'image')}.", "Differences of a few points may be chance; see the intervals."
    )


def _unjudged(summary: AuditSummary) -> Caution | None:
    lines = unjudged_sentences(summary.slice_columns)
    return Caution("Slices were not judged.", visible(" ".join(lines))) if lines else None


#: What holds of the head and the data, whatever the model answers.
_OF_A_GUESS = (_chance, _failed, _head, _positions, _rounding, _no_objects, _few, _unjudged)
_RULES = (
    _chance,
    _failed,
    _background,
    _head,
    _pool,
    _positions,
    _rounding,
    _centre,
    _edges,
    _calibration,
    _no_objects,
    _few,
    _unjudged,
)
