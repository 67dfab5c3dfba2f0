"""The plots, each with a reading and a definition; what was not measured is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx_gapmil.auditing.page.aggregators import aggregators
from onnx_gapmil.auditing.page.localization import localization, several_objects
from onnx_gapmil.auditing.page.multi_label import multi_label_aggregators
from onnx_gapmil.auditing.page.reliability import calibration
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.metrics.figures import ForegroundFigures, RecoveryFigures
from onnx_gapmil.show.html.charts import Axis, Row, bar, finding, marker, plot, stacked_bar
from onnx_gapmil.show.html.formatting import count, percent, table_percent
from onnx_gapmil.show.html.markup import Markup, join, tag

_RECOVERY: tuple[tuple[str, Callable[[RecoveryFigures], float | None]], ...] = (
    ("It wins a cell on the object", lambda part: part.any_top1),
    ("It is among the five best of a cell on the object", lambda part: part.any_top5),
    ("It wins most cells on the object", lambda part: part.most_top1),
    ("Share of the object's cells that it wins", lambda part: part.cell_share),
    ("Share of the other cells that it wins", lambda part: part.background_share),
)
_KINDS = {"measured": "own", "right": "sub", "wrong": "sub"}
_CAUSES = (
    (
        "dilution",
        "Dilution",
        "The label wins cells on the object, but few, or it shares the object with the class answered.",
    ),
    ("distraction", "Distraction", "It wins some; most cells of the class answered lie elsewhere."),
    ("absent", "Absent", "No cell on the object has the label on top."),
)


def findings_section(summary: AuditSummary) -> Markup:
    """All plots that the summary has values for."""
    several = summary.multi_label
    plots = [
        aggregators(summary) if several is None else multi_label_aggregators(summary, several.chance),
        _recovery(summary),
        _causes(summary) if several is None else None,
        localization(summary),
        _background(summary),
        several_objects(summary) if several is None else None,
        _edges(summary),
        calibration(summary) if several is None else None,
    ]
    return tag(
        "section",
        tag("h2", "Findings"),
        tag("div", plots, class_="findings"),
        id="findings",
        aria_label="Findings",
    )


def _recovery(summary: AuditSummary) -> Markup | None:
    if summary.foreground is None:
        return None
    kinds = (("right", summary.foreground.right), ("wrong", summary.foreground.wrong))
    groups = [(kind, part) for kind, part in kinds if part.images]
    axis = Axis.of([1.0], zero=True)
    rows: list[Row] = []
    control = summary.foreground.wrong.control_any_top1
    for label, share_of in _RECOVERY:
        shares = [(kind, share_of(part)) for kind, part in groups]
        marks = [
            bar(axis, share, kind, y=4 + 13 * place, height=10)
            for place, (kind, share) in enumerate(shares)
            if share is not None
        ]
        if control is not None and not rows:  # of the errors, beside the first row's second bar
            marks.append(marker(axis, control, "baseline-mark"))
        numbers = tag("span", [tag("span", table_percent(share)) for _kind, share in shares], class_="pair")
        rows.append(Row(label, marks, [numbers]))
    return finding(
        "recovery",
        "Does the label win cells on the object?",
        _recovery_reading(summary.foreground),
        join(
            _recovery_legend(groups, control, several=summary.multi_label is not None),
            plot(rows, axis, columns=("", ""), what="Recovery in foreground cells", height=30),
        ),
        "A cell is on the object if at least half of its area lies in the object's box or mask; if no cell does, the "
        "one with the most overlap is taken. “The right class” is the image's label. A cell is won by the "
        "class with the highest logit in it (arXiv 2606.14555). The control asks the same cells of the same errors for "
        "the classes that rank next above and next below the label for the whole image, the answer aside: they cannot "
        "know, and win cells too.",
        "The last two rows compare the object's cells with the others: a label that wins as many elsewhere is not told "
        "by the object.",
    )


def _recovery_legend(groups: Sequence[tuple[str, RecoveryFigures]], control: float | None, *, several: bool) -> Markup:
    names = {"right": "the image-level answer is right", "wrong": "it is wrong"}
    if several:
        names = {"right": "the image's highest class is a label", "wrong": "it is none"}
    return tag(
        "ul",
        [
            tag(
                "li",
                tag("span", class_=f"swatch {kind}"),
                names[kind],
                tag("span", f" {part.images:,}", class_="soft"),
            )
            for kind, part in groups
        ],
        tag("li", tag("span", class_="swatch tick"), "a class ranked beside it, where it is wrong")
        if control is not None
        else None,
        class_="legend inline",
    )


def _recovery_reading(found: ForegroundFigures) -> str:
    right, wrong = found.right, found.wrong
    if not wrong.images:
        inside, outside = percent(right.cell_share, 0), percent(right.background_share, 0)
        return f"The label wins {inside} of the cells on the object, {outside} elsewhere."
    share = percent(wrong.any_top1, 0)
    control = wrong.control_any_top1
    beside = f"; a class ranked beside it does in {percent(control, 0)}" if control is not None else ""
    return f"Where the answer is wrong, the label wins a cell on the object in {share}{beside}."


def _causes(summary: AuditSummary) -> Markup | None:
    found = summary.error_causes
    if found is None or not found.total:
        return None
    counts = {"dilution": found.dilution, "distraction": found.distraction, "absent": found.absent}
    parts = [(key, name, counts[key]) for key, name, _text in _CAUSES]
    _key, name, most = max(parts, key=lambda part: part[2])
    return finding(
        "causes",
        "Errors by who wins which cells",
        f"The most frequent is {name.lower()}: {most:,} of {count(found.total, 'error')} "
        f"({percent(most / found.total, 0)}).",
        stacked_bar(
            [part for part in parts if part[2]],
            "Causes of errors",
            {key: text for key, _title, text in _CAUSES},
        ),
        "Each error whose object has a known place gets one cause, by who wins which cells; in all but “absent” the "
        "right class wins a cell on the object. Whether it does so more often than a class that cannot know, the "
        "control says. A cell is won by the class with the highest logit in it.",
        "Distraction means that more than half of the cells that the answered class wins lie off the object.",
    )


def _background(summary: AuditSummary) -> Markup | None:
    detail = summary.background
    if detail is None or detail.share is None:
        return None
    lines = (
        ("Outside the object", detail.share, "measured"),
        ("where the answer is right", detail.right, "right"),
        ("where it is wrong", detail.wrong, "wrong"),
        ("Outside a box of its size in the middle", detail.centred_box, "baseline"),
        ("Outside a box of its size anywhere", detail.random_box, "baseline"),
    )
    known = [(label, value, kind) for label, value, kind in lines if value is not None]
    axis = Axis.of([1.0], zero=True)
    rows = [
        Row(label, [bar(axis, value, kind, y=6, height=14)], [table_percent(value)], _KINDS.get(kind, ""))
        for label, value, kind in known
    ]
    return finding(
        "background",
        "Reliance on background",
        _background_reading(detail.share, detail.random_box),
        plot(rows, axis, columns=("", "evidence"), what="Share of the evidence outside the object"),
        "Of the evidence for the class answered, the share that lies outside the object's box or mask. A cell's "
        "evidence for a class is by how much its logit stands above the mean of all classes in that cell. The grey "
        "bars measure the same evidence against a box of the object's size in the middle of the image, and one "
        "anywhere in it. Below both, the evidence lies on the object more than its place alone makes it.",
        f"In {count(detail.only_background_errors, 'error')} only the background speaks: the class answered wins no "
        "cell on the object.",
    )


def _edges(summary: AuditSummary) -> Markup | None:
    """The outermost cells against their number; artefacts of padding show there."""
    found = summary.edges
    if found is None:
        return None
    ring = found.ring_cells
    lines = (
        ("Evidence for the class answered", found.evidence),
        ("Cells that it wins", found.winners),
        ("Energy of all classes", found.energy),
        ("Evidence in letterbox padding", found.padding),
    )
    known = [(label, value) for label, value in lines if value is not None]
    if ring is None or not known:
        return None
    axis = Axis.of([ring, *(value for _label, value in known)], zero=True)
    rows = [
        Row(
            label,
            [
                bar(axis, value, "measured", y=6, height=14),
                marker(axis, ring, "baseline-mark") if "padding" not in label else Markup(),
            ],
            [table_percent(value)],
        )
        for label, value in known
    ]
    hold = f" and hold {percent(found.evidence, 0)} of the evidence" if found.evidence is not None else ""
    return finding(
        "edges",
        "Edges and padding",
        f"The outermost cells are {percent(ring, 0)} of all{hold}.",
        join(
            tag("ul", tag("li", tag("span", class_="swatch tick"), "their share of cells"), class_="legend inline"),
            plot(rows, axis, columns=("", "in them"), what="Shares of the outermost ring of cells"),
        ),
        "Convolutions with zero padding see a border that no photo has, which may raise the shares above the ring’s "
        "share of cells; objects at the edge do so too. A cell’s energy is the variance of its "
        "logits over the classes: it is large where the cell says anything at all.",
    )


def _background_reading(share: float, random: float | None) -> str:
    text = f"{percent(share, 0)} of the evidence for the class answered lies outside the object"
    if random is None:
        return text + "."
    return text + f"; {percent(random, 0)} of it lies outside a box of that size anywhere."
