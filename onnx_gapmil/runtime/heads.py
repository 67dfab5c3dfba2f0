"""The heads of a rewritten model, as its metadata names them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx_gapmil.errors import ModelError

HEADS_KEY = "gapmil.heads"
VERSION_KEY = "gapmil.version"


@dataclass(frozen=True)
class Head:
    """One output of the vendor's model that was lifted.

    Attributes:
        output: the vendor's output that the head ends in; the first, if it has several.
        verdict: "exact" or "conditional".
        logits: graph output of shape (N, K).
        features: graph output of shape (N, C, H, W), the feature grid; None where it was not emitted.
        grid: graph output of shape (N, K, H, W), the prediction grid.
        grid_shape: the grid's shape as the rewrite saw it; None or a symbol for an open axis.
        activation: what the vendor's graph makes of the logits: "softmax", "sigmoid" or "none".
        readout: "contribution" (mean over cells = logits) or "instance".
        quantized: whether the head rounds to integers on the way.
        note: anything a reader of the grid must know.
        rounding_bound: how far that alone may move a logit; None where no bound is known.
    """

    output: str
    verdict: str
    logits: str
    features: str | None
    grid: str
    grid_shape: tuple[int | str | None, ...]
    activation: str = "none"
    readout: str = "contribution"
    quantized: bool = False
    rounding_bound: float | None = None
    note: str = ""

    @property
    def tensors(self) -> tuple[str, ...]:
        """The graph outputs that belong to this head."""
        return tuple(name for name in (self.logits, self.grid, self.features) if name is not None)


def read_heads(metadata: Mapping[str, str], outputs: Iterable[str], what: str) -> tuple[Head, ...] | None:
    """Read the heads that a rewrite recorded; None for a model that was not rewritten.

    Args:
        metadata: the model's `metadata_props`.
        outputs: names of the graph's outputs.
        what: the model's name, for messages.

    Raises:
        ModelError: the record is damaged, or names outputs that the graph has not.
    """
    text = metadata.get(HEADS_KEY)
    if text is None:
        return None
    try:
        heads = tuple(_head(entry) for entry in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(what, f"it cannot be read ({type(error).__name__}: {error})") from error
    if not heads:
        raise _damaged(what, "it names no head")
    known = set(outputs)
    absent = sorted({name for head in heads for name in head.tensors} - known)
    if absent:
        raise _damaged(what, f"the graph has no output {', '.join(map(repr, absent))}")
    return heads


def _head(entry: Mapping[str, Any]) -> Head:
    return Head(
        output=_text(entry["output"]),
        verdict=_text(entry["verdict"]),
        logits=_text(entry["logits"]),
        features=None if entry.get("features") is None else _text(entry["features"]),
        grid=_text(entry["grid"]),
        grid_shape=tuple(entry.get("grid_shape") or ()),
        activation=_text(entry.get("activation", "none")),
        readout=_text(entry.get("readout", "contribution")),
        quantized=entry.get("quantized", False) is True,
        note=_text(entry.get("note", "")),
        rounding_bound=float(entry["rounding_bound"]) if entry.get("rounding_bound") is not None else None,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _damaged(what: str, why: str) -> ModelError:
    return ModelError(
        f"{what}: its record of lifted heads ({HEADS_KEY}) is damaged: {why}. Rewrite the original again."
    )
