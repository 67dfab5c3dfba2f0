"""What an audit says in a terminal, of what real audits found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from onnx_gapmil.auditing import AuditSummary
from onnx_gapmil.auditing.page import Report
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.auditing.summary import SuspectLabel, SuspectLabels
from onnx_gapmil.auditing.text import audit_note
from onnx_gapmil.data.slices import SlicedColumn
from onnx_gapmil.files.wording import column_percent, percent
from onnx_gapmil.metrics.by_slice import figures_by_slice
from onnx_gapmil.metrics.figures import ErrorCauses
from tests.helpers.report_pages import with_summary
from tests.metrics.test_summary import RECORDS


def said(summary: AuditSummary) -> list[str]:
    """The lines, unbroken."""
    console = Console(width=400, color_system=None)
    with console.capture() as capture:
        console.print(audit_note(summary, Path("out")))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_what_was_found_is_said_in_sentences(digits: Report) -> None:
    summary = digits.summary
    assert summary.foreground is not None
    assert summary.several_objects is not None
    right, wrong, several = summary.foreground.right, summary.foreground.wrong, summary.several_objects
    low, high = summary.intervals["top1"]
    lines = said(summary)
    assert lines[0] == (
        f"Whole image: {right.images} of 60 right at top-1 ({percent(summary.top1)}, 95 % interval {percent(low)} to "
        f"{percent(high)}), {percent(summary.top5)} at top-5."
    )
    assert lines[1].startswith(f"Answered rightly ({right.images}): the true class wins a cell on the object in 100 %")
    assert f"it wins {percent(wrong.cell_share)} of the object's cells and" in lines[2]
    assert lines[3] == (
        f"Errors in which the true class wins a cell on the object: {wrong.images} of {wrong.images} "
        f"(dilution 0, distraction {wrong.images}); in 0 it wins none."
    )
    assert wrong.excess is not None
    low, high = (f"{100 * bound:+.1f}" for bound in summary.intervals["foreground.wrong.excess"])
    assert lines[4] == (
        f"Control: a class ranked beside it for the whole image wins one in {percent(wrong.control_any_top1)}; excess "
        f"{100 * wrong.excess:+.1f} points (95 % interval {low} to {high}): evidence that the mean loses."
    )
    assert lines[5].startswith(f"Pointing game {percent(summary.pointing_game)}; the photo's centre alone gets ")
    assert (
        f"Several objects in one photo (photos: {several.images}, objects: {several.objects}): the grid finds "
        f"{several.grid}, top-1 names {several.top1}, top-5 {several.top5}."
    ) in lines
    assert lines[-1] == "In out/: report.html, summary.json, images.parquet, classes.parquet"


def test_each_aggregator_has_a_line(digits: Report) -> None:
    lines = [line.strip() for line in said(digits.summary)]
    start = next(place for place, line in enumerate(lines) if line.startswith("aggregator"))
    table = [line.split("  ") for line in lines[start + 1 : start + 1 + len(digits.summary.aggregators)]]
    assert table[0][0] == "mean (the model's own)"
    assert [row[0] for row in table[1:]] == list(digits.summary.aggregators)[1:]
    for row, values in zip(table, digits.summary.aggregators.values(), strict=True):
        assert [cell.strip() for cell in row if cell.strip()][1:] == [
            column_percent(values.top1),
            f"{column_percent(values.interval[0])} to {column_percent(values.interval[1])}",
            column_percent(values.top5),
            column_percent(values.macro_top1),
        ]


def test_without_boxes_nothing_is_said_of_places(many: Report) -> None:
    lines = said(replace(many.summary, top1=0.5))  # of one that guesses nothing else would be said
    assert lines[1] == "No boxes or masks were given: what lies on the object is not known, and not measured."
    assert lines[2].startswith("Calibration error (ECE) ")
    assert not any("box" in line or "Pointing" in line for line in lines[2:])


def test_each_figure_of_boxes_stands_beside_its_baseline(digits: Report) -> None:
    summary = digits.summary
    boxes = summary.localization
    assert boxes is not None
    lines = said(summary)
    low, high = (f"{100 * bound:+.1f}" for bound in summary.intervals["localization.top1.excess"])
    assert (
        f"Top-1 localization {percent(summary.top1_localization)}; a box in the middle gets "
        f"{percent(boxes.top1.centre_box.share)} (difference {low} to {high} points)."
    ) in lines
    for name, own, centre in (
        ("MaxBoxAccV2", summary.maxboxacc_v2, boxes.centre_box.shares.mean),
        ("MaxBoxAcc (V1)", summary.maxboxacc_v1, boxes.one_box.centre_box.share),
    ):
        start = f"{name} {percent(own)}; a box in the middle gets {percent(centre)} (difference "
        assert any(line.startswith(start) for line in lines)


def test_suspects_and_the_lowest_slices_are_named(digits: Report) -> None:
    label = SuspectLabel(
        image="a\x1b.png",
        labels=(1,),
        label_names=("one",),
        answer=7,
        answer_name="seven",
        confidence=0.987,
        label_probability=0.001,
    )
    suspects = SuspectLabels(images=3, of=60, share=0.05, listed=(label,))
    made = figures_by_slice(RECORDS, {"light": {"q1": range(5), "q2": range(5, 40)}}, None, None)
    worst = min(made["light"], key=lambda value: made["light"][value].top1)
    columns = {
        "light": SlicedColumn(40, 0, {"q1": (0.0, 2.5), "q2": (3.0, 9.0)}, None),
        "file": SlicedColumn(60, 0, None, "60 values for 60 images: no slices."),
        "same": SlicedColumn(1, 0, None, "all images have the same value."),
    }
    lines = said(replace(digits.summary, suspect_labels=suspects, slices=made, slice_columns=columns))
    assert (
        "Suspect labels: 3 of 60: the model is sure of something else, and no cell knows the label. The plainest: "
        "a\\x1b.png, labelled one, answered seven (98.7 %)."
    ) in lines
    which = {"q1": "0 to 2.5", "q2": "3 to 9"}[worst]
    figures = made["light"][worst]
    assert any(
        line.startswith(
            f"By light (2 slices): lowest top-1 {percent(figures.top1)} of {which} ({figures.images} images,"
        )
        for line in lines
    )
    assert "By file: 60 values for 60 images: no slices." in lines
    assert not any(line.startswith("By same") for line in lines)
    assert not any("wrong label" in line.lower() for line in lines)


def test_errors_that_no_cell_could_save_are_told_apart(digits: Report) -> None:
    changed = with_summary(digits, error_causes=ErrorCauses(3, 4, 5)).summary
    assert (
        "Errors in which the true class wins a cell on the object: 7 of 12 (dilution 3, distraction 4); in 5 it wins "
        "none."
    ) in said(changed)
    none = replace(changed, error_causes=ErrorCauses(0, 0, 0))
    assert not any(line.startswith(("Errors in which", "Control")) for line in said(none))


def test_an_excess_that_may_be_chance_is_said_to_be(digits: Report) -> None:
    intervals = {**digits.summary.intervals, "foreground.wrong.excess": (-0.02, 0.4)}
    (line,) = [line for line in said(replace(digits.summary, intervals=intervals)) if line.startswith("Control")]
    assert line.endswith(
        "(95 % interval -2.0 to +40.0): the interval holds 0, so that the cells may know no better than the answer."
    )


def test_a_model_that_guesses_is_said_to_guess_before_all_else(digits: Report) -> None:
    """Of 10 classes 9 of 60 right are what chance gives (Wilson's interval begins at 0.081), 13 are more."""
    for right, guesses in ((9, True), (13, False)):
        lines = said(replace(digits.summary, images=60, top1=right / 60))
        assert lines[0].startswith("The model answers no better than a guess does") is guesses
        claims = ("Answered ", "Errors in", "Control", "Pointing", "Evidence", "Suspect", "By ", "aggregator")
        assert any(line.strip().startswith(claims) for line in lines) is not guesses


def test_the_first_ten_failures_are_named(digits: Report) -> None:
    failures = tuple(Failure(f"{place}.png", f"{place}.png is empty.") for place in range(12))
    lines = said(replace(digits.summary, failed=12, failures=failures))
    place = lines.index("12 images were kept out:")
    assert lines[place + 1 : place + 12] == [
        *(f"  {number}.png is empty." for number in range(10)),
        "  and 2 more, in summary.json",
    ]
