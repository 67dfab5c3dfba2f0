"""Which classes are taken for which: a matrix of at most 40 classes, else the worst pairs; a click shows the images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from onnx_gapmil.auditing.confusions import Confusion, Confusions
from onnx_gapmil.show.html.formatting import class_name, count, percent, table_percent
from onnx_gapmil.show.html.markup import Markup, bdi, join, tag

#: Shades of a cell, by its share of the label's images.
_SHADES = 9


def confusions_section(found: Confusions, names: Mapping[int, str], *, gallery: bool) -> Markup | None:
    """Labels against answers; None where nothing is confused.

    Args:
        found: the counts.
        names: of the classes.
        gallery: whether there are images to show.
    """
    if not found.errors:
        return None

    def name(index: int) -> str:
        return class_name(names, index)

    return tag(
        "section",
        tag("h2", "Confusions"),
        tag("p", _reading(found, name), class_="reading"),
        _matrix(found, name, gallery) if found.classes else _list(found, name, gallery),
        tag("p", _note(found, gallery), class_="soft"),
        id="confusions",
        aria_label="Confusions",
    )


def _reading(found: Confusions, name: Callable[[int], str]) -> Markup:
    worst = next(pair for pair in found.pairs if pair.label != pair.answer)
    errors = f"Of {count(found.images, 'image')} with one label, {found.errors:,} are answered with another class"
    if worst.images == 1:
        return join(errors, "; no label twice with the same one." if found.errors > 1 else ".")
    return join(
        errors,
        "; most often ",
        bdi(name(worst.label)),
        " is taken for ",
        bdi(name(worst.answer)),
        f": {worst.images:,} of {count(worst.of, 'image')} ({percent(worst.images / worst.of, 0)}).",
    )


def _note(found: Confusions, gallery: bool) -> str:
    how = (
        "Rows are labels, columns answers; the stronger its colour, the larger a cell is in its row. "
        if found.classes
        else "The most frequent errors first, of equal ones the surest answers. "
    )
    return how + ("A click on a number shows its images, as far as the gallery has them." if gallery else "")


def _matrix(found: Confusions, name: Callable[[int], str], gallery: bool) -> Markup:
    by_pair = {(pair.label, pair.answer): pair for pair in found.pairs}
    heads = [tag("th", tag("span", bdi(name(index))), scope="col", title=name(index)) for index in found.classes]
    body = [
        tag(
            "tr",
            tag("th", bdi(name(label)), scope="row", title=name(label)),
            [_cell(by_pair.get((label, answer)), name, gallery) for answer in found.classes],
        )
        for label in found.classes
    ]
    table = tag(
        "table",
        tag("caption", "Images by label (rows) and answer (columns)", class_="unseen"),
        tag("thead", tag("tr", tag("td", "label ↓  answer →", class_="corner soft"), heads)),
        tag("tbody", body),
        class_="matrix",
    )
    return _scrolled(table, "Confusion matrix")


def _cell(pair: Confusion | None, name: Callable[[int], str], gallery: bool) -> Markup:
    if pair is None:
        return tag("td")
    right = pair.label == pair.answer
    shade = math.ceil(_SHADES * pair.images / pair.of)
    said = f"{count(pair.images, 'image')}: label {name(pair.label)}, answer {name(pair.answer)}"
    kind = f"{'hit' if right else 'miss'} shade-{shade}"
    return tag("td", _button(pair, f"{pair.images:,}", gallery, said), class_=kind)


def _list(found: Confusions, name: Callable[[int], str], gallery: bool) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", bdi(name(pair.label)), scope="row"),
            tag("td", bdi(name(pair.answer))),
            tag(
                "td",
                _button(
                    pair,
                    f"{pair.images:,}",
                    gallery,
                    f"{count(pair.images, 'image')}: label {name(pair.label)}, answer {name(pair.answer)}",
                ),
                class_="num",
            ),
            tag("td", f"{pair.of:,}", class_="num"),
            tag("td", table_percent(pair.images / pair.of), class_="num"),
        )
        for pair in found.pairs
    ]
    heads = (("Label", ""), ("Answered as", ""), ("Images", "num"), ("of the label’s", "num"), ("Share", "num"))
    table = tag(
        "table",
        tag("caption", "The most frequent confusions", class_="unseen"),
        tag("thead", tag("tr", [tag("th", text, scope="col", class_=kind or None) for text, kind in heads])),
        tag("tbody", rows),
        class_="shares",
    )
    return _scrolled(table, "Table of confusions")


def _scrolled(table: Markup, name: str) -> Markup:
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=name)


def _button(pair: Confusion, text: str, gallery: bool, said: str) -> Markup | str:
    """A count that shows its images."""
    if not gallery:
        return text
    wanted = json.dumps({"pair": f"{pair.label},{pair.answer}"})
    return tag("button", text, type="button", class_="link", data_choose=wanted, aria_label=said, title=said)
