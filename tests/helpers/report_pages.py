"""What the tests of the report's page share: the opened page, hostile names, and the maps read back in Python."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from playwright.sync_api import Page

from onnx_gapmil.auditing.gallery import GalleryImage
from onnx_gapmil.auditing.page import Report
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.show.html.maps import EncodedMaps

#: Ends a script, starts an element, breaks out of an attribute, looks like a place-holder, and opens a comment in
#: which a script's end would not count.
EVIL = '</script ></script><img src=x onerror="alert(1)">\'{{data}}&amp;<!--<script >'


@dataclass
class Opened:
    """A page, and everything that it complained of or asked for."""

    page: Page
    report: Report
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def images(self) -> tuple[GalleryImage, ...]:
        return self.report.gallery.images

    def name(self, index: int) -> str:
        return self.report.names[index]


Open = Callable[..., Opened]


def decode(made: EncodedMaps) -> tuple[np.ndarray, np.ndarray]:
    """Logits (classes, cells) and log-sum-exp (cells,) of a gallery image, as its maps say them."""
    kind = {8: "u1", 16: "<u2"}[made.depth]
    levels = np.frombuffer(base64.b64decode(made.maps), kind).astype(np.float64)
    step = (made.high - made.low) / (2**made.depth - 1)
    logits = (made.low + step * levels).reshape(len(made.classes), -1)
    return logits, np.frombuffer(base64.b64decode(made.lse), "<f4").astype(np.float64)


def with_summary(report: Report, **changes: Any) -> Report:
    """The report with other values in its summary."""
    return replace(report, summary=replace(report.summary, **changes))


def with_image(report: Report, place: int, **changes: Any) -> Report:
    """The report with other values in one image of its gallery."""
    images = list(report.gallery.images)
    images[place] = replace(images[place], **changes)
    return replace(report, gallery=replace(report.gallery, images=tuple(images)))


def hostile(report: Report, text: str = EVIL) -> Report:
    """The report with one text wherever it has one that comes from others."""
    summary = report.summary
    gallery = replace(
        report.gallery, note=text, images=tuple(replace(image, name=text) for image in report.gallery.images)
    )
    report = replace(report, names=dict.fromkeys(report.names, text), gallery=gallery)
    return with_summary(
        report,
        model=text,
        names_source=text,
        head=replace(summary.head, output=text, note=text),
        data=replace(summary.data, source=text, notes=(text,)),
        failed=2,
        failures=(Failure(text, text),) * 2,
        class_map=replace(summary.class_map, source=text),
    )
