"""The plots, each with a reading and a definition; what was not measured is left out."""

from __future__ import annotations

from typing import Any

from onnx_gapmil.auditing.page.localization import localization, several_objects
from onnx_gapmil.auditing.page.reliability import calibration
from onnx_gapmil.show.html.charts import Axis, Row, bar, dot, finding, marker, plot, stacked_bar, whisker
from onnx_gapmil.show.html.formatting import (
    aggregator_name,
    count,
    interval,
    may_be_chance,
    percent,
    share_of,
    table_percent,
)
from onnx_gapmil.show.html.markup import Child, Markup, join, tag

_RECOVERY = (
    ("any_top1", "It wins a cell on the object"),
    ("any_top5", "It is among the five best of a cell on the object"),
    ("most_top1", "It wins most cells on the object"),
    ("cell_share", "Share of the object's cells that it wins"),
    ("background_share", "Share of the other cells that it wins"),
)
_KINDS = {"measured": "own", "right": "sub", "wrong": "sub"}
_CAUSES = (
    (
        "dilution",
        "Dilution",
        "The right class wins cells on the object, but too few, or the object is shared with the class answered.",
    ),
    ("distraction", "Distraction", "It wins some, but is outvoted: most cells of the class answered lie elsewhere."),
    ("absent", "Absent", "No cell on the object has the right class on top; pooling is not to blame."),
)


def findings_section(payload: dict[str, Any]) -> Markup | None:
    """All plots that the summary has values for."""
    summary = payload["summary"]
    plots = [
        _aggregators(summary),
        _recovery(summary),
        _causes(summary),
        _background(summary),
        localization(summary),
        calibration(summary, payload.get("reliability")),
        several_objects(summary),
        _edges(summary),
    ]
    shown = [item for item in plots if item is not None]
    if not shown:
        return None
    return tag(
        "section",
        tag("h2", "Findings"),
        tag("div", shown, class_="findings"),
        id="findings",
        aria_label="Findings",
    )


def _aggregators(summary: dict[str, Any]) -> Markup | None:
    found = {
        key: value for key, value in (summary.get("aggregators") or {}).items() if share_of(value, "top1") is not None
    }
    if not found:
        return None
    own = share_of(found.get("mean"), "top1")
    order = sorted(found, key=lambda key: (-found[key]["top1"], key != "mean"))
    bounds = [edge for value in found.values() for edge in (value.get("interval") or []) if edge is not None]
    axis = Axis.of([value["top1"] for value in found.values()] + bounds, zero=False)
    rows = []
    for key in order:
        value, limits = found[key], found[key].get("interval") or []
        marks = [marker(axis, own, "reference")] if own is not None else []
        if len(limits) == 2 and None not in limits:
            marks.append(whisker(axis, limits[0], limits[1]))
        marks.append(dot(axis, value["top1"], "point"))
        label = join(aggregator_name(key), tag("span", "the model's own", class_="mark") if key == "mean" else None)
        numbers = [table_percent(value["top1"]), interval(limits) or "–", table_percent(share_of(value, "top5"))]
        rows.append(Row(label, marks, numbers, "own" if key == "mean" else ""))
    return finding(
        "aggregators",
        "Accuracy by aggregator",
        _aggregator_reading(found, order),
        plot(rows, axis, columns=("Cells pooled by", "top-1", "95 %", "top-5"), what="Top-1 accuracy by aggregator"),
        "Each row pools the same cells of the same network in another way and takes the class with the highest score. "
        "Nothing is trained anew. The dot is top-1 accuracy, the line its 95 % bootstrap interval over images, the "
        "dashed line the model's own mean.",
        "mean: the average over cells, which is what the network computes. maximum: the class's best cell. "
        "log-sum-exp: log mean exp, between the two. mean of the top cells: over the best fifth of each class. "
        "softmax-weighted: cells weighted by their own strength. noisy-or: 1 − ∏(1 − p) over the cells' "
        "probabilities. generalized mean: (mean p³)^⅓. mean of cell probabilities: each cell votes after its softmax.",
    )


def _aggregator_reading(found: dict[str, Any], order: list[str]) -> str:
    best, own = order[0], found.get("mean")
    if own is None:
        return f"The best is {aggregator_name(best)} with {percent(found[best]['top1'])}."
    if found[best]["top1"] <= own["top1"]:
        return "The model's own mean is the best of these: no other fixed rule gets more images right."
    gain = 100 * (found[best]["top1"] - own["top1"])
    chance = ", which may be chance" if may_be_chance(found[best], own) else ""
    return f"{aggregator_name(best).capitalize()} gains {gain:.1f} points over the model's own mean{chance}."


def _recovery(summary: dict[str, Any]) -> Markup | None:
    foreground = summary.get("foreground") or {}
    groups = [(kind, foreground[kind]) for kind in ("right", "wrong") if share_of(foreground.get(kind), "images")]
    if not groups:
        return None
    axis = Axis.of([1.0], zero=True)
    rows = []
    for key, label in _RECOVERY:
        shares = [(kind, share_of(value, key)) for kind, value in groups]
        marks = [
            bar(axis, share, kind, y=4 + 13 * place, height=10)
            for place, (kind, share) in enumerate(shares)
            if share is not None
        ]
        numbers = tag("span", [tag("span", table_percent(share)) for _kind, share in shares], class_="pair")
        rows.append(Row(label, marks, [numbers]))
    names = {"right": "the image-level answer is right", "wrong": "it is wrong"}
    legend = tag(
        "ul",
        [
            tag(
                "li",
                tag("span", class_=f"swatch {kind}"),
                names[kind],
                tag("span", f" {value['images']:,}", class_="soft"),
            )
            for kind, value in groups
        ],
        class_="legend inline",
    )
    return finding(
        "recovery",
        "Where the right class still shows",
        _recovery_reading(dict(groups)),
        join(legend, plot(rows, axis, columns=("", ""), what="Recovery in foreground cells", height=30)),
        "A cell is on the object if at least half of its area lies in the object's box or mask; if no cell does, the "
        "one with the most overlap is taken. “The right class” is the image's label. A cell is won by the "
        "class with the highest logit in it (arXiv 2606.14555).",
        "Compare the last two rows: a model that looks at objects wins far more cells on them than elsewhere.",
    )


def _recovery_reading(groups: dict[str, Any]) -> Child:
    wrong, right = groups.get("wrong"), groups.get("right")
    share = share_of(wrong, "any_top1")
    if wrong is None or share is None:
        inside, outside = share_of(right, "cell_share"), share_of(right, "background_share")
        return f"The right class wins {percent(inside, 0)} of the cells on the object, {percent(outside, 0)} elsewhere."
    beside = share_of(right, "any_top1")
    also = f", against {percent(beside, 0)} where the answer is right" if beside is not None else ""
    return f"Where the answer is wrong, the right class still wins a cell on the object in {percent(share, 0)}{also}."


def _causes(summary: dict[str, Any]) -> Markup | None:
    found = summary.get("error_causes") or {}
    parts = [(key, name, int(found.get(key) or 0)) for key, name, _text in _CAUSES]
    total = sum(part[2] for part in parts)
    if not total:
        return None
    _key, name, most = max(parts, key=lambda part: part[2])
    return finding(
        "causes",
        "Why the mean failed",
        f"{name} explains {most:,} of {count(total, 'error')} ({percent(most / total, 0)}).",
        stacked_bar(
            [part for part in parts if part[2]],
            "Causes of errors",
            {key: text for key, _title, text in _CAUSES},
        ),
        "Each error whose object has a known place gets one cause, by who wins which cells; all but “absent” are "
        "recoverable: the right answer stands in the grid, and the mean lost it. A cell is won by the class with the "
        "highest logit in it.",
        "Distraction means that more than half of the cells that the answered class wins lie off the object.",
    )


def _background(summary: dict[str, Any]) -> Markup | None:
    share = share_of(summary.get("background_reliance"))
    if share is None:
        return None
    detail = summary.get("background") or {}
    lines = (
        ("Outside the object", share, "measured"),
        ("where the answer is right", share_of(detail, "right"), "right"),
        ("where it is wrong", share_of(detail, "wrong"), "wrong"),
        ("Outside a box of its size in the middle", share_of(detail, "centred_box"), "baseline"),
        ("Outside a box of its size anywhere", share_of(detail, "random_box"), "baseline"),
    )
    known = [(label, value, kind) for label, value, kind in lines if value is not None]
    axis = Axis.of([1.0], zero=True)
    rows = [
        Row(label, [bar(axis, value, kind, y=6, height=14)], [table_percent(value)], _KINDS.get(kind, ""))
        for label, value, kind in known
    ]
    only = detail.get("only_background_errors")
    return finding(
        "background",
        "Reliance on background",
        _background_reading(share, share_of(detail, "random_box")),
        plot(rows, axis, columns=("", "evidence"), what="Share of the evidence outside the object"),
        "Of the evidence for the class answered, the share that lies outside the object's box or mask. A cell's "
        "evidence for a class is by how much its logit stands above the mean of all classes in that cell. The grey "
        "bars measure the same evidence against a box of the object's size in the middle of the image, and one "
        "anywhere in it. Below both, the model looks at the object.",
        f"In {count(int(only), 'error')} only the background speaks: the class answered wins no cell on the object."
        if isinstance(only, int | float)
        else None,
    )


def _edges(summary: dict[str, Any]) -> Markup | None:
    """The outermost cells against their number; artefacts of padding show there."""
    found = summary.get("edges") or {}
    ring = share_of(found, "ring_cells")
    lines = (
        ("Evidence for the class answered", share_of(found, "evidence")),
        ("Cells that it wins", share_of(found, "winners")),
        ("Energy of all classes", share_of(found, "energy")),
        ("Evidence in letterbox padding", share_of(found, "padding")),
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
    evidence = share_of(found, "evidence")
    hold = f" and hold {percent(evidence, 0)} of the evidence" if evidence is not None else ""
    return finding(
        "edges",
        "Edges and padding",
        f"The outermost cells are {percent(ring, 0)} of all{hold}.",
        join(
            tag("ul", tag("li", tag("span", class_="swatch tick"), "their share of cells"), class_="legend inline"),
            plot(rows, axis, columns=("", "in them"), what="Shares of the outermost ring of cells"),
        ),
        "Convolutions with zero padding see a border that no photo has. Shares well above the ring’s share of cells, "
        "on photos whose objects do not lie at the edge, are its artefact. A cell’s energy is the variance of its "
        "logits over the classes: it is large where the cell says anything at all.",
    )


def _background_reading(share: float, random: float | None) -> str:
    text = f"{percent(share, 0)} of the evidence for the class answered lies outside the object"
    if random is None:
        return text + "."
    return text + f"; {percent(random, 0)} of it lies outside a box of that size anywhere."
