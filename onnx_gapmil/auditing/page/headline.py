"""The first screen: what became of the images, in sentences, and what to know before relying on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_gapmil.auditing.page.cautions import cautions_of, verdict_word
from onnx_gapmil.show.html.charts import stacked_bar
from onnx_gapmil.show.html.formatting import (
    aggregator_name,
    count,
    interval,
    may_be_chance,
    of_images,
    percent,
    share_of,
)
from onnx_gapmil.show.html.markup import Markup, join, tag

_VERDICTS = {
    "exact": "a cell’s value is the head’s own answer to that cell alone.",
    "conditional": "the cells’ mean is the model’s answer, but a cell’s value also depends on the rest of the image.",
}


@dataclass(frozen=True)
class Outcome:
    """What became of the images.

    Attributes:
        images: measured.
        right: whose image-level top-1 is right.
        wrong: the others.
        judged: wrong ones with a box or mask, whose cells can be judged; None if nothing could be judged.
        recoverable: of those, the ones whose right class still wins a cell on the object.
    """

    images: int
    right: int
    wrong: int
    judged: int | None
    recoverable: int

    @classmethod
    def of(cls, summary: dict[str, Any]) -> Outcome:
        """Read the counts of a summary."""
        images = int(summary.get("images") or 0)
        right = of_images(share_of(summary.get("top1")), images)
        wrong = images - right
        foreground = (summary.get("foreground") or {}).get("wrong") or {}
        recoverable = summary.get("recoverable") or {}
        judged = foreground.get("images") if recoverable.get("images") is not None else None
        return cls(images, right, wrong, judged, int(recoverable.get("images") or 0))


def headline_section(summary: dict[str, Any]) -> Markup:
    """Verdict, sentences, the bar of all images, warnings."""
    outcome = Outcome.of(summary)
    return tag(
        "section",
        _eyebrow(summary),
        tag("h1", "What the classifier sees, ", tag("span", "measured", class_="soft")),
        tag("div", [tag("p", sentence) for sentence in sentences(summary, outcome)], class_="lead"),
        _outcome_bar(outcome) if outcome.images else None,
        _figures(summary),
        _warnings(summary),
        id="summary",
        aria_label="Summary",
    )


def _eyebrow(summary: dict[str, Any]) -> Markup:
    """The verdict on the head, before everything else: what the cells below may be taken for."""
    verdict = verdict_word(summary)
    meaning = _VERDICTS.get(verdict)
    return (
        tag("p", tag("b", f"{verdict.capitalize()} head"), f": {meaning}" if meaning else None, class_="eyebrow")
        if verdict
        else join()
    )


def sentences(summary: dict[str, Any], outcome: Outcome) -> list[Markup]:
    """The headline, for someone who decides about a release."""
    if not outcome.images:
        return [join("No image could be measured.")]
    return [
        sentence
        for sentence in (
            _accuracy_sentence(summary, outcome),
            _recovery_sentence(outcome),
            _aggregator_sentence(summary, outcome),
            _background_sentence(summary),
        )
        if sentence is not None
    ]


def _accuracy_sentence(summary: dict[str, Any], outcome: Outcome) -> Markup:
    bounds = interval((summary.get("intervals") or {}).get("top1"))
    sure = f", 95 % interval {bounds}" if bounds else ""
    top5 = share_of(summary.get("top5"))
    return join(
        "The model names the right class for ",
        _strong(f"{outcome.right:,} of {count(outcome.images, 'image')}"),
        f" ({percent(share_of(summary.get('top1')))}{sure})",
        f"; in {percent(top5)} it is among the five best." if top5 is not None else ".",
    )


def _recovery_sentence(outcome: Outcome) -> Markup | None:
    if outcome.judged is None or not outcome.wrong:
        return None
    these = (
        f"the {outcome.wrong:,} it gets wrong"
        if outcome.judged == outcome.wrong
        else f"the {count(outcome.judged, 'error')} with a known place of the object"
    )
    if not outcome.recoverable:
        return join("In none of ", these, " does the right class win a cell on the object: the evidence is not there.")
    all_of_them = outcome.recoverable == outcome.judged
    return join(
        "In ",
        _strong(f"all {these.removeprefix('the ')}" if all_of_them else f"{outcome.recoverable:,} of {these}"),
        ", the right class still wins a cell on the object: the evidence is there, and averaging loses it.",
    )


def _aggregator_sentence(summary: dict[str, Any], outcome: Outcome) -> Markup | None:
    shares = {key: share_of(value, "top1") for key, value in (summary.get("aggregators") or {}).items()}
    own = shares.pop("mean", None)
    known = {key: share for key, share in shares.items() if share is not None}
    if own is None or not known:
        return None
    best = max(known, key=lambda key: known[key])
    more = of_images(known[best], outcome.images) - of_images(own, outcome.images)
    if more > 0:
        found = summary["aggregators"]
        sure = "which may be chance" if may_be_chance(found[best], found["mean"]) else "with no training"
        return join(
            f"Pooling the same cells by {aggregator_name(best)} instead would be right for ",
            _strong(f"{count(more, 'image')} more"),
            f" ({percent(known[best])}), {sure}.",
        )
    how = "does no better" if more == 0 else f"is right for {count(-more, 'image')} fewer"
    return join(
        "No other fixed way of pooling the cells helps: the best of them, "
        f"{aggregator_name(best)}, {how} ({percent(known[best])})."
    )


def _background_sentence(summary: dict[str, Any]) -> Markup | None:
    share = share_of(summary.get("background_reliance"))
    if share is None:
        return None
    return join(_strong(percent(share, 0)), " of the evidence for its answers comes from outside the marked objects.")


def _strong(text: str) -> Markup:
    return tag("strong", text)


def _outcome_bar(outcome: Outcome) -> Markup:
    judged = outcome.judged or 0
    lost = max(0, judged - outcome.recoverable)
    parts = [
        ("right", "Right", outcome.right),
        ("recoverable", "Wrong, but the right class wins a cell on the object", outcome.recoverable),
        ("lost", "Wrong, and it wins none there", lost),
        ("unjudged", "Wrong" if not judged else "Wrong, the object's place unknown", outcome.wrong - judged),
    ]
    return stacked_bar([part for part in parts if part[2] > 0], "What became of the images")


def _figures(summary: dict[str, Any]) -> Markup | None:
    """Five numbers at a glance; those that were not measured are left out."""
    intervals = summary.get("intervals") or {}
    calibration = summary.get("calibration") or {}
    centre = share_of(summary.get("pointing_game_centre"))
    tiles = [
        ("Top-1", share_of(summary.get("top1")), _within(intervals.get("top1"))),
        ("Top-5", share_of(summary.get("top5")), _within(intervals.get("top5"))),
        ("Pointing game", share_of(summary.get("pointing_game")), f"centre of the image: {percent(centre)}"),
        ("MaxBoxAccV2", share_of(summary.get("maxboxacc_v2")), "boxes from the grid"),
        ("Calibration error", share_of(calibration, "ece"), "confidence against accuracy"),
    ]
    shown = [
        tag("div", tag("dt", name), tag("dd", percent(value), tag("span", note, class_="note")))
        for name, value, note in tiles
        if value is not None
    ]
    return tag("dl", shown, class_="figures") if shown else None


def _within(bounds: object) -> str:
    text = interval(bounds)
    return f"95 % interval {text}" if text else ""


def _warnings(summary: dict[str, Any]) -> Markup | None:
    found = cautions_of(summary)
    if not found:
        return None
    return tag(
        "aside",
        tag("h2", "Before you rely on this"),
        tag("ul", [tag("li", tag("b", item.title), " ", item.text) for item in found]),
        class_="warnings",
        aria_label="Before you rely on this",
    )
