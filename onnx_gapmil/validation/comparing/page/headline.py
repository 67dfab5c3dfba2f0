"""The first screen: what changed, in sentences, and what to know before relying on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.data.unjudged import unjudged_sentences
from onnx_gapmil.files.printable import visible
from onnx_gapmil.images.resolve import said_assumption
from onnx_gapmil.rewriting.sizing.record import said_size
from onnx_gapmil.show.html.charts import stacked_bar
from onnx_gapmil.show.html.formatting import count, interval, percent
from onnx_gapmil.show.html.markup import Markup, tag
from onnx_gapmil.validation.comparing.sentences import (
    guess_sentence,
    sentences,
    shown_p,
    verdict_sentence,
)

if TYPE_CHECKING:
    from onnx_gapmil.validation.comparing.result import ComparedModel, Comparison


def headline_section(found: Comparison) -> Markup:
    """Verdict, sentences, the bar of all images, figures, warnings."""
    verdict, guesses = verdict_sentence(found), guess_sentence(found)
    said = [sentence for sentence in sentences(found) if sentence not in (verdict, guesses)]
    return tag(
        "section",
        _eyebrow(found),
        tag("p", tag("b", guesses), class_="guess", role="note") if guesses else None,
        tag("h1", verdict, class_="verdict"),
        tag("div", [tag("p", sentence) for sentence in said], class_="lead"),
        _outcome_bar(found),
        _figures(found),
        _warnings(found),
        id="summary",
        aria_label="Summary",
    )


def _eyebrow(found: Comparison) -> Markup:
    old, new = found.models.old, found.models.new
    return tag("p", tag("b", "Old"), f" {_called(old)}  ·  ", tag("b", "New"), f" {_called(new)}", class_="eyebrow")


def _called(model: ComparedModel) -> str:
    pooled = "" if model.pooled_by == "mean" else f", pooled by {model.pooled_by}"
    pooled += f", at {said_size(model.size.size)}" if model.size is not None else ""
    pooled += ", stitched" if model.stitch > 1 else ""
    return f"{Path(model.path).name} (output {model.output}{pooled})"


def _outcome_bar(found: Comparison) -> Markup:
    flips, accuracy = found.flips, found.accuracy
    if accuracy is None or flips.fixed is None or flips.broken is None:
        parts = [("same", "The same answer", found.images - flips.count), ("changed", "Another answer", flips.count)]
        return stacked_bar([part for part in parts if part[2] > 0], "What became of the images")
    right = round(accuracy.old * found.images) - flips.broken
    wrong = found.images - right - flips.fixed - flips.broken
    parts = [
        ("same-right", "Right in both", right),
        ("fixed", "Fixed", flips.fixed),
        ("broken", "Broken", flips.broken),
        ("same-wrong", "Wrong in both", wrong),
    ]
    return stacked_bar([part for part in parts if part[2] > 0], "What became of the images")


def _figures(found: Comparison) -> Markup:
    """Five numbers at a glance; those that are not known are left out."""
    grids, intervals = found.grids, found.intervals
    tiles: list[tuple[str, str, str]] = [
        ("Same answer", percent(found.agreement.top1), f"95 % interval {interval(intervals['agreement.top1'])}"),
        ("Shared among the first five", percent(found.agreement.top5), "mean over images"),
    ]
    if found.accuracy is not None:
        low, high = found.accuracy.interval
        points = f"{100 * found.accuracy.difference:+.1f}"
        tiles.insert(0, ("Accuracy, points", points, f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"))
    if found.flips.mcnemar_p is not None and not found.same:
        tiles.insert(1, ("McNemar's p", shown_p(found.flips.mcnemar_p), "fixed against broken"))
    if grids.winners_changed is not None:
        tiles.append(("Cells another class wins", percent(grids.winners_changed), "of the common places"))
    if grids.correlation is not None:
        tiles.append(("Correlation of evidence", f"{grids.correlation:.3f}", "1: the same everywhere"))
    shown = [
        tag("div", tag("dt", name), tag("dd", value, tag("span", note, class_="note"))) for name, value, note in tiles
    ]
    return tag("dl", shown, class_="figures")


def _warnings(found: Comparison) -> Markup | None:
    said = list(_cautions(found))
    if not said:
        return None
    return tag(
        "aside",
        tag("h2", "Before you rely on this"),
        tag("ul", [tag("li", tag("b", title), " ", text) for title, text in said]),
        class_="warnings",
        aria_label="Before you rely on this",
    )


def _cautions(found: Comparison) -> list[tuple[str, str]]:
    cautions = []
    for which, model in (("old", found.models.old), ("new", found.models.new)):
        if model.preprocess_assumed:
            said = said_assumption(model.preprocess_assumed, model.preprocess_guessed)
            what = "guess" if model.preprocess_guessed else "finding"
            cautions.append(
                (
                    f"Preprocessing of the {which} model {said}.",
                    f"{model.preprocess_source} A wrong {what} shows up as drift.",
                )
            )
    classes = found.aligned_classes
    lacking = classes.old - classes.aligned, classes.new - classes.aligned
    if any(lacking):
        cautions.append(
            (
                "Not every class has a partner.",
                f"{lacking[0]:,} of the old model's and {lacking[1]:,} of the new one's have none; "
                f"{found.flips.unaligned:,} answers are such a class and count as changed.",
            )
        )
    if found.grids.averaged:
        cautions.append(
            (
                "The grids have other cells.",
                f"In {count(found.grids.averaged, 'image')} one was averaged by area onto the coarser one's.",
            )
        )
    if found.grids.reason is not None:
        cautions.append(("The grids are not compared:", f"{found.grids.reason}."))
    if lost := unjudged_sentences(found.slice_columns):
        cautions.append(("Slices were not judged.", visible(" ".join(lost))))
    if found.failed:
        cautions.append((f"{count(found.failed, 'image')} kept out.", found.failures[0].error))
    return cautions
