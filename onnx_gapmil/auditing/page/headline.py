"""The first screen: what became of the images, in sentences, and what to know before relying on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx_gapmil.auditing.page.aggregators import OWN, may_be_chance
from onnx_gapmil.auditing.page.cautions import cautions_of
from onnx_gapmil.auditing.page.multi_label import multi_label_bar, multi_label_sentences, multi_label_tiles
from onnx_gapmil.auditing.page.wording import points, within
from onnx_gapmil.auditing.sentences import swap_sentence
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.images.resolve import said_assumption
from onnx_gapmil.lift.verdict import Verdict, said_verdict
from onnx_gapmil.metrics.swaps import LikelySwap
from onnx_gapmil.show.html.charts import stacked_bar
from onnx_gapmil.show.html.formatting import aggregator_name, count, of_images, percent
from onnx_gapmil.show.html.markup import Markup, join, prose, tag

_FIVE = 5
_VERDICTS: dict[Verdict, str] = {
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
        winning: of those, the ones whose right class still wins a cell on the object.
        controlled: whether there are classes beside the right one to compare that with.
        beyond: of those, as many as are more than a class ranked beside the right one wins; 0 where that may be chance.
    """

    images: int
    right: int
    wrong: int
    judged: int | None
    winning: int
    controlled: bool
    beyond: int

    @classmethod
    def of(cls, summary: AuditSummary) -> Outcome:
        """Read the counts of a summary."""
        right = of_images(summary.top1, summary.images)
        wrong = summary.images - right
        foreground, recoverable = summary.foreground, summary.recoverable
        # What the cells know in errors is nothing that can be said of a model that guesses.
        if foreground is None or recoverable is None or summary.is_at_chance:
            return cls(summary.images, right, wrong, None, 0, False, 0)
        judged, excess = foreground.wrong.images, foreground.wrong.excess
        beyond = of_images(excess, judged) if excess is not None and summary.cells_know_better else 0
        return cls(
            images=summary.images,
            right=right,
            wrong=wrong,
            judged=judged,
            winning=recoverable.images,
            controlled=foreground.wrong.control_any_top1 is not None,
            beyond=min(beyond, recoverable.images),
        )


def headline_section(summary: AuditSummary, names: Mapping[int, str]) -> Markup:
    """Verdict, sentences, the bar of all images, warnings.

    Args:
        summary: of the audit.
        names: of the classes.
    """
    outcome = Outcome.of(summary)
    return tag(
        "section",
        _eyebrow(summary),
        _guess(summary),
        [_swap(swap, names) for swap in summary.likely_swaps],
        tag("h1", "What the classifier sees, ", tag("span", "measured", class_="soft")),
        tag("div", [tag("p", sentence) for sentence in sentences(summary, outcome)], class_="lead"),
        _outcome_bar(outcome) if summary.multi_label is None else multi_label_bar(summary.multi_label),
        _figures(summary),
        _warnings(summary),
        id="summary",
        aria_label="Summary",
    )


def _eyebrow(summary: AuditSummary) -> Markup:
    """The verdict on the head, before everything else: what the cells below may be taken for."""
    verdict = summary.verdict
    said = said_verdict(verdict, position_dependent=summary.head.position_dependent).capitalize()
    return tag("p", tag("b", f"{said} head"), f": {_VERDICTS[verdict]}", class_="eyebrow")


def _guess(summary: AuditSummary) -> Markup | None:
    """Loud, and before every figure: with other preprocessing all of them are others."""
    if not summary.preprocess_assumed:
        return None
    guessed = summary.preprocess_guessed
    what = "guess" if guessed else "finding"
    return tag(
        "p",
        tag("b", f"Preprocessing {said_assumption(summary.preprocess_assumed, guessed)}."),
        " ",
        summary.preprocess_source,
        f" Every figure on this page holds for that {what} alone; ",
        tag("code", "--preprocess"),
        " takes what the vendor says.",
        class_="guess",
        role="note",
    )


def _swap(swap: LikelySwap, names: Mapping[int, str]) -> Markup:
    """As loud as a guess: every figure is another once the classes are put right."""
    said, _, rest = swap_sentence(swap, names).partition(": ")
    return tag("p", tag("b", f"{said}:"), " ", prose(rest), class_="guess", role="note")


def sentences(summary: AuditSummary, outcome: Outcome) -> list[Markup]:
    """The headline, for someone who decides about a release. Of a model that guesses: that, and how well it answers."""
    if summary.is_at_chance:
        return _guessing_sentences(summary, outcome)
    if summary.multi_label is not None:
        background = _background_sentence(summary)
        own = multi_label_sentences(summary, summary.multi_label)
        return [*own, background] if background is not None else own
    found = (
        _accuracy_sentence(summary, outcome),
        _recovery_sentence(summary, outcome),
        _aggregator_sentence(summary, outcome),
        _background_sentence(summary),
    )
    return [sentence for sentence in found if sentence is not None]


def _guessing_sentences(summary: AuditSummary, outcome: Outcome) -> list[Markup]:
    several = summary.multi_label
    if several is not None:
        return [_strong("The model ranks labels no better than chance does."), *multi_label_sentences(summary, several)]
    return [_strong("The model answers no better than a guess does."), _accuracy_sentence(summary, outcome)]


def _accuracy_sentence(summary: AuditSummary, outcome: Outcome) -> Markup:
    return join(
        "The model names the right class for ",
        _strong(f"{outcome.right:,} of {count(outcome.images, 'image')}"),
        f" ({percent(summary.top1)}, {within(summary.intervals['top1'])})",
        f"; in {percent(summary.top5)} it is among the five best." if _ranks_five(summary) else ".",
    )


def _ranks_five(summary: AuditSummary) -> bool:
    """Of five classes or fewer the right one is always among the five best."""
    classes = summary.head.grid_shape[1]
    return not isinstance(classes, int) or classes > _FIVE


def _recovery_sentence(summary: AuditSummary, outcome: Outcome) -> Markup | None:
    """What the cells on the object know in errors: never without its control, and no more than stands beyond it."""
    if outcome.judged is None or not outcome.wrong or summary.foreground is None:
        return None
    these = (
        f"the {outcome.wrong:,} it gets wrong"
        if outcome.judged == outcome.wrong
        else f"the {count(outcome.judged, 'error')} with a known place of the object"
    )
    if not outcome.winning:
        return join("In none of ", these, " does the label win a cell on the object.")
    all_of_them = outcome.winning == outcome.judged
    found = join(
        "In ",
        _strong(f"all {these.removeprefix('the ')}" if all_of_them else f"{outcome.winning:,} of {these}"),
        ", the label wins a cell on the object",
    )
    wrong = summary.foreground.wrong
    control, excess = wrong.control_any_top1, wrong.excess
    if control is None or excess is None:
        return join(found, "; there is no class beside it to compare that with.")
    beside = f"; a class ranked beside it for the whole image does in {percent(control, 0)}"
    bounds = summary.intervals["foreground.wrong.excess"]
    if not summary.cells_know_better:
        how = "no more often" if excess <= 0 else "not surely less often"
        return join(found, beside, f", {how} ({points(excess, bounds)}): the cells may know no better than the answer.")
    return join(
        found,
        beside,
        ". The ",
        _strong(points(excess, bounds)),
        f" between them are evidence that the cells hold and {_losing(summary)} loses.",
    )


def _losing(summary: AuditSummary) -> str:
    """What makes one answer of the cells."""
    pool = summary.head.pool
    return "averaging" if pool == OWN else f"pooling by '{pool}'"


def _aggregator_sentence(summary: AuditSummary, outcome: Outcome) -> Markup:
    found, own = summary.aggregators, summary.aggregators[OWN]
    if summary.head.pool != OWN:
        right = of_images(own.top1, outcome.images)
        return join(
            f"The model is repooled by '{summary.head.pool}'; by the mean, the vendor's own way, it would be ",
            _strong(f"right for {count(right, 'image')}"),
            f" ({percent(own.top1)}).",
        )
    best = max((key for key in found if key != OWN), key=lambda key: found[key].top1)
    share = found[best].top1
    more = of_images(share, outcome.images) - of_images(own.top1, outcome.images)
    if more > 0:
        which = "stitched" if summary.stitch > 1 else "same"
        sure = "which may be chance" if may_be_chance(found[best], own) else "with no training"
        return join(
            f"Pooling the {which} cells by {aggregator_name(best)} instead, the best of the other ways on these ",
            "images, is right for ",
            _strong(f"{count(more, 'image')} more"),
            f" ({percent(share)}), {sure}.",
        )
    how = "does no better" if more == 0 else f"is right for {count(-more, 'image')} fewer"
    return join(
        "No other fixed way of pooling the cells helps: the best of them, "
        f"{aggregator_name(best)}, {how} ({percent(share)})."
    )


def _background_sentence(summary: AuditSummary) -> Markup | None:
    share = summary.background_reliance
    if share is None:
        return None
    centred = summary.background.centred_box if summary.background is not None else None
    against = (
        f"; a box of their size in the middle would leave {percent(centred, 0)} outside" if centred is not None else ""
    )
    return join(
        _strong(percent(share, 0)), f" of the evidence for its answers comes from outside the marked objects{against}."
    )


def _strong(text: str) -> Markup:
    return tag("strong", text)


def _outcome_bar(outcome: Outcome) -> Markup:
    judged = outcome.judged or 0
    lost = max(0, judged - outcome.winning)
    won = "Wrong; it wins one, as classes ranked beside it do"
    if not outcome.controlled:
        won = "Wrong; the label wins a cell on the object, and no class beside it was there to compare that with"
    parts = [
        ("right", "Right", outcome.right),
        ("recoverable", "Wrong; the label wins a cell on the object, beyond the control", outcome.beyond),
        ("control", won, outcome.winning - outcome.beyond),
        ("lost", "Wrong; it wins none there", lost),
        ("unjudged", "Wrong" if not judged else "Wrong, the object's place unknown", outcome.wrong - judged),
    ]
    return stacked_bar([part for part in parts if part[2] > 0], "What became of the images")


def _figures(summary: AuditSummary) -> Markup:
    """Five numbers at a glance; those that were not measured are left out."""
    centre = f"centre of the image: {percent(summary.pointing_game_centre)}"
    boxes = summary.localization
    middle = f"box in the centre: {percent(boxes.centre_box.shares.mean)}" if boxes is not None else ""
    places = [("Pointing game", summary.pointing_game, centre), ("MaxBoxAccV2", summary.maxboxacc_v2, middle)]
    if summary.multi_label is not None:
        tiles = [*multi_label_tiles(summary.multi_label), *places]
    else:
        tiles = [
            ("Top-1", summary.top1, within(summary.intervals["top1"])),
            ("Top-5", summary.top5 if _ranks_five(summary) else None, within(summary.intervals["top5"])),
            *places,
            ("Calibration error", summary.calibration.ece, "confidence against accuracy"),
        ]
    shown = [
        tag("div", tag("dt", name), tag("dd", percent(value), tag("span", note, class_="note")))
        for name, value, note in tiles
        if value is not None
    ]
    return tag("dl", shown, class_="figures")


def _warnings(summary: AuditSummary) -> Markup | None:
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
