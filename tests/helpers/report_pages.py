"""What the tests of the report's page share: the opened page, hostile names, and the maps read back in Python."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from playwright.sync_api import Page

#: Ends a script, starts an element, breaks out of an attribute, looks like a place-holder, and opens a comment in
#: which a script's end would not count.
EVIL = '</script ></script><img src=x onerror="alert(1)">\'{{data}}&amp;<!--<script >'


@dataclass
class Opened:
    """A page, and everything that it complained of or asked for."""

    page: Page
    payload: dict[str, Any]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[dict[str, Any]]:
        return list(self.payload["gallery"]["images"])

    def name(self, index: int) -> str:
        return str(self.payload["names"][str(index)])


Open = Callable[..., Opened]


def decode(made: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (classes, cells) and log-sum-exp (cells,) of a gallery image, as its maps say them."""
    kind = {8: "u1", 16: "<u2"}[made["depth"]]
    levels = np.frombuffer(base64.b64decode(made["maps"]), kind).astype(np.float64)
    step = (made["high"] - made["low"]) / (2 ** made["depth"] - 1)
    logits = (made["low"] + step * levels).reshape(len(made["classes"]), -1)
    return logits, np.frombuffer(base64.b64decode(made["lse"]), "<f4").astype(np.float64)


def hostile(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with `EVIL` for every name in it."""
    payload = copy.deepcopy(payload)
    payload["names"] = dict.fromkeys(payload["names"], EVIL)
    payload["summary"]["model"] = payload["summary"]["data"]["source"] = EVIL
    payload["summary"]["failures"] = [{"image": EVIL, "error": EVIL}] * 2
    payload["gallery"]["note"] = EVIL
    for item in payload["classes"]:
        item["name"] = EVIL
    for image in payload["gallery"]["images"]:
        image["name"] = EVIL
    return payload
