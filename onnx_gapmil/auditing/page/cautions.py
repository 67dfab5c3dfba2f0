"""What a reader should know before relying on the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_gapmil.show.html.formatting import count, one_of, percent, share_of

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


def cautions_of(summary: dict[str, Any]) -> list[Caution]:
    """All cautions that a summary gives rise to, the gravest first."""
    found = (rule(summary) for rule in _RULES)
    return [caution for caution in found if caution is not None]


def _failed(summary: dict[str, Any]) -> Caution | None:
    failed = int(summary.get("failed") or 0)
    if not failed:
        return None
    return Caution(
        f"{count(failed, 'image')} could not be measured.",
        "They are named below and kept out of every number.",
    )


def _preprocess(summary: dict[str, Any]) -> Caution | None:
    assumed = one_of(summary, "preprocess_assumed") or one_of(summary.get("preprocess"), "assumed", "guessed")
    if not assumed:
        return None
    return Caution(
        "Preprocessing was guessed.",
        "Wrong preprocessing is the commonest silent failure: the vendor should confirm it. "
        "All numbers here hold for the preprocessing listed below.",
    )


def _no_objects(summary: dict[str, Any]) -> Caution | None:
    if summary.get("foreground") is not None or not summary.get("images"):
        return None
    return Caution(
        "No boxes or masks.",
        "The data do not say where the objects are, so nothing here tells object from background.",
    )


def verdict_word(summary: dict[str, Any]) -> str:
    """``exact`` or ``conditional``; empty if the summary does not say."""
    verdict = summary.get("verdict")
    text = verdict if isinstance(verdict, str) else str(one_of(verdict, "verdict", "name", "text") or "")
    return next((word for word in ("conditional", "exact") if word in text), "")


def _head(summary: dict[str, Any]) -> Caution | None:
    if verdict_word(summary) == "conditional":
        return Caution(
            "The head is conditional.",
            "The cells' mean is exactly the model's answer, but a cell's value also depends on the rest of the image: "
            "read a cell as its share in this answer, not as an answer to the cell alone.",
        )
    return None


def _positions(summary: dict[str, Any]) -> Caution | None:
    if not _flag(summary, "position_dependent", "position-dependent"):
        return None
    return Caution(
        "The head is position-dependent.",
        "Each cell has weights of its own, so cells of equal content may answer differently.",
    )


def _rounding(summary: dict[str, Any]) -> Caution | None:
    if not _flag(summary, "quantized", "up to rounding", "up_to_rounding"):
        return None
    return Caution(
        "The head computes in integers.", "Cells and the model's own answer agree up to rounding, not to the last bit."
    )


def _flag(summary: dict[str, Any], *names: str) -> bool:
    """Whether the verdict or the head says one of these, as a key that is true or as words of a text."""
    places = [summary.get("verdict"), summary.get("head")]
    flags = [place.get(name) for place in places if isinstance(place, dict) for name in names]
    texts = [str(text) for place in places for text in (place.values() if isinstance(place, dict) else [place])]
    return any(flag is True for flag in flags) or any(name in text for text in texts for name in names)


def _background(summary: dict[str, Any]) -> Caution | None:
    share = share_of(summary.get("background_reliance"))
    if share is None:
        return None
    random = share_of(summary.get("background"), "random_box")
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
        f"{percent(share)} of it lies outside the marked object. Where surroundings change, so may the answers.",
    )


def _centre(summary: dict[str, Any]) -> Caution | None:
    game, centre = share_of(summary.get("pointing_game")), share_of(summary.get("pointing_game_centre"))
    if game is None or centre is None or game - centre > CLOSE_TO_CENTRE:
        return None
    return Caution(
        "The pointing game shows little here.",
        f"The best cell lies on the object in {percent(game)}, but so does the middle of the image in "
        f"{percent(centre)}: the objects are centred.",
    )


def _calibration(summary: dict[str, Any]) -> Caution | None:
    error = share_of(summary.get("calibration"), "ece")
    if error is None or error <= HIGH_ECE:
        return None
    return Caution(
        "Confidence is not probability.",
        f"It misses the accuracy by {percent(error)} on average (expected calibration error).",
    )


def _edges(summary: dict[str, Any]) -> Caution | None:
    found = summary.get("edges")
    evidence, ring = share_of(found, "evidence"), share_of(found, "ring_cells")
    if evidence is None or ring is None or evidence <= LOUD_EDGES * ring:
        return None
    return Caution(
        "The edges speak loudly.",
        f"The outermost cells are {percent(ring, 0)} of all and hold {percent(evidence, 0)} of the evidence: an "
        "artefact of padding, unless the objects lie there.",
    )


def _few(summary: dict[str, Any]) -> Caution | None:
    images = int(summary.get("images") or 0)
    if not 0 < images < FEW_IMAGES:
        return None
    return Caution(f"Only {count(images, 'image')}.", "Differences of a few points may be chance; see the intervals.")


_RULES = (
    _failed,
    _preprocess,
    _background,
    _head,
    _positions,
    _rounding,
    _centre,
    _edges,
    _calibration,
    _no_objects,
    _few,
)
