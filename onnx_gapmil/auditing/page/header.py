"""The bar at the top: what the page is about, the switch of its theme, links to its sections."""

from __future__ import annotations

from pathlib import Path

from onnx_gapmil.auditing.gallery import Gallery
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.show.html.markup import Markup, join, tag

_SECTIONS = (("summary", "Summary"), ("measured", "Measured"), ("findings", "Findings"), ("classes", "Classes"))


def header(summary: AuditSummary, gallery: Gallery) -> Markup:
    """The bar; the switch of the theme stays hidden without the script."""
    links = [*_SECTIONS, ("images", "Images")] if gallery.images else _SECTIONS
    return join(
        tag(
            "div",
            tag("a", tag("b", "onnx-gapmil"), " audit", href="#main", class_="brand"),
            tag("span", Path(summary.model).name, class_="model", title=summary.model),
            class_="title",
        ),
        tag("button", "Theme: system", type="button", id="theme", class_="quiet", hidden=True),
        tag("nav", [tag("a", text, href=f"#{name}") for name, text in links], aria_label="Sections"),
    )
