"""HTML and SVG from Python: text is escaped unless it was made here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from onnx_gapmil.files.printable import visible_lines

_QUOTED = re.compile(r"('[^']+')")
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link"})


class Markup(str):
    """Text that is HTML already; everything else is escaped by `tag` and `join`."""

    __slots__ = ()


Child = str | int | float | Iterable["Child"] | None


def tag(name: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element.

    Args:
        name: of the element.
        children: what it holds; strings that are no `Markup` are escaped, None is left out, iterables are
            flattened.
        attributes: a trailing underscore is dropped and other underscores become hyphens (``class_``, ``aria_label``);
            None and False are left out, True stands bare. An attribute ``style`` or ``on...`` would be stopped by the
            page's content security policy: there is none.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(*children)}</{name}>")


def bdi(text: str) -> Markup:
    """A name of others, whose direction of writing stays its own."""
    return tag("bdi", text)


def prose(text: str) -> Markup:
    """A sentence in which names stand in quotation marks: each is isolated as by `bdi`."""
    return join(*(bdi(part) if place % 2 else part for place, part in enumerate(_QUOTED.split(text))))


def join(*children: Child) -> Markup:
    """Children one after the other, escaped where they are not `Markup`."""
    return Markup("".join(_flat(child) for child in children))


def number(value: float) -> str:
    """A coordinate: at most two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def percent_of(share: float) -> str:
    """A share as an SVG length: 0.5 is ``50%`` of the width of the picture."""
    return f"{number(100 * share)}%"


def _flat(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(visible_lines(child))
    if isinstance(child, int | float):
        return str(child)
    return "".join(_flat(part) for part in child)


def _attribute(key: str, value: str | float | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is False:
        return ""
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(visible_lines(text))}"'
