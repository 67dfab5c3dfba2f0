"""The bar at the top: what the page is about, the switch of its theme, links to its sections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.show.html.markup import Markup, join, tag


def header(summary: AuditSummary, sections: Mapping[str, str]) -> Markup:
    """The bar; the switch of the theme stays hidden without the script.

    Args:
        summary: of the audit.
        sections: the titles of those that the page has, by their ids.
    """
    name = Path(summary.model).name
    return join(
        tag(
            "div",
            tag("a", tag("b", "onnx-gapmil"), " audit", href="#main", class_="brand"),
            tag("bdi", name, class_="model", title=name),
            class_="title",
        ),
        tag("button", "Theme: system", type="button", id="theme", class_="quiet", hidden=True),
        tag("nav", [tag("a", text, href=f"#{key}") for key, text in sections.items()], aria_label="Sections"),
    )
