"""The page of photos: what it is made of, and ``predictions.html``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_gapmil.files.serial import to_json
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.prediction.page.content import PageModel, PagePhoto
from onnx_gapmil.show.html.document import Document, render_document
from onnx_gapmil.show.html.markup import Markup, bdi, join, tag
from onnx_gapmil.show.html.touch import PHOTO_SCRIPTS, TOUCH_ADDRESS, TOUCH_SCRIPTS, TOUCH_STYLES, touch_colours

PAGE = "predictions.html"

_STYLES = ("base.css", "gallery.css", "print.css", *TOUCH_STYLES, "view/page.css")
_SCRIPTS = (*PHOTO_SCRIPTS, *TOUCH_SCRIPTS, "view/live.js", "view/view.js")
#: What the address of a page may say after the #, and what holds where it says nothing.
_ADDRESS = {"photo": "0", **TOUCH_ADDRESS}


@dataclass(frozen=True)
class Live:
    """What a page must know of the server behind it.

    Attributes:
        most_bytes: a photo that is sent may have.
        waiting: names of photos that it is to ask for, one after the other.
    """

    most_bytes: int
    waiting: tuple[str, ...]


def write_page(path: Path, models: Sequence[PageModel], photos: Sequence[PagePhoto]) -> None:
    """Write a page, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_whole(path, render_page(models, photos).encode("utf-8", "replace"))


def render_page(models: Sequence[PageModel], photos: Sequence[PagePhoto]) -> str:
    """One file of HTML that loads nothing and sends nothing."""
    return render_document(page_document(models, photos))


def page_document(models: Sequence[PageModel], photos: Sequence[PagePhoto], live: Live | None = None) -> Document:
    """The page as a document; a live one sends photos to the server that it is from, and nothing to others.

    Args:
        models: one, or two beside each other.
        photos: with an answer of each model.
        live: of the server; None for a page that is a file.
    """
    names = " and ".join(model.name for model in models)
    data = {
        "names": {},
        "models": list(models),
        "photos": list(photos),
        "live": live,
        "address": _ADDRESS,
        **touch_colours(),
    }
    made = "Shown by" if live is not None else "Made by"
    ends = "It is served by this machine, to it alone." if live is not None else "One file; it loads nothing."
    return Document(
        title=f"{names} · onnx-gapmil",
        skip=tag("a", "Skip to the photo", class_="skip", href="#main"),
        header=_header(models),
        main=join(_guesses(models), tag("noscript", tag("p", "This page needs JavaScript, its own and no other."))),
        footer=tag("p", f"{made} onnx-gapmil {models[0].version}. {ends}"),
        data={"data": to_json(data)},
        styles=_STYLES,
        scripts=_SCRIPTS,
        connects=live is not None,
    )


def _header(models: Sequence[PageModel]) -> Markup:
    shown = [join(" and " if place else "", bdi(model.name)) for place, model in enumerate(models)]
    return join(
        tag("div", tag("b", "onnx-gapmil", class_="brand"), tag("h1", shown, class_="model"), class_="title"),
        tag("button", "Theme", type="button", id="theme", class_="quiet", hidden=True),
    )


def _guesses(models: Sequence[PageModel]) -> list[Markup]:
    """What a reader must know before he believes anything: preprocessing that was guessed, or is contradicted."""
    found = []
    for model in models:
        told = [f"{model.guess[0].upper()}{model.guess[1:]}."] if model.guess else []
        told += list(model.warnings)
        if told:
            beside = tag("b", bdi(model.name), ": ") if len(models) > 1 else None
            wrong = " If it is wrong, every number here is; --preprocess takes what the vendor says. "
            told_so = wrong if model.guess else " "
            found.append(tag("p", beside, tag("b", told[0]), told_so, " ".join(told[1:]), class_="guess"))
    return found
