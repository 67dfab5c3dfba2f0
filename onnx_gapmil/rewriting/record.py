"""The heads of a rewritten model, as its metadata names them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_gapmil.aggregate.aggregator import parse_aggregator
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.rewriting.emission.emit import Emit

HEADS_KEY = "gapmil.heads"
VERSION_KEY = "gapmil.version"


@dataclass(frozen=True)
class TopKOutputs:
    """Graph outputs of the image's best classes.

    Attributes:
        k: how many.
        classes: output (N, k) int64, best first.
        grid: output (N, k, H, W).
    """

    k: int
    classes: str
    grid: str


@dataclass(frozen=True)
class ClassesOutput:
    """The graph output of some classes.

    Attributes:
        indices: which.
        grid: output (N, len(indices), H, W).
    """

    indices: tuple[int, ...]
    grid: str


@dataclass(frozen=True, kw_only=True)
class HeadOutputs:
    """Names of the graph outputs of one head; None for what is not emitted.

    Attributes:
        logits: (N, K).
        features: (N, C, H, W), the feature grid.
        grid: (N, K, H, W), the prediction grid.
        argmax: (N, H, W) int64, the best class of each cell.
        certainty: (N, H, W), its softmax share.
        peaks: (N, K) int64, the best cell of each class.
        topk: the image's best classes and their grid.
        classes: the grid of chosen classes.
        scores: by the aggregator's key, (N, K).
    """

    logits: str
    features: str | None = None
    grid: str | None = None
    argmax: str | None = None
    certainty: str | None = None
    peaks: str | None = None
    topk: TopKOutputs | None = None
    classes: ClassesOutput | None = None
    scores: Mapping[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The graph outputs that belong to this head."""
        return tuple(self.by_name().values())

    def by_name(self) -> dict[str, str]:
        """Each output's tensor by what it is; scores as ``scores.KEY``."""
        named = {
            "logits": self.logits,
            "grid": self.grid,
            "features": self.features,
            "argmax": self.argmax,
            "certainty": self.certainty,
            "peaks": self.peaks,
            "topk_classes": self.topk.classes if self.topk is not None else None,
            "topk_grid": self.topk.grid if self.topk is not None else None,
            "classes_grid": self.classes.grid if self.classes is not None else None,
        }
        found = {key: tensor for key, tensor in named.items() if tensor is not None}
        return found | {f"scores.{key}": tensor for key, tensor in self.scores.items()}

    @property
    def emit(self) -> Emit:
        """What the graph gives of this head."""
        return Emit(
            features=self.features is not None,
            grid=self.grid is not None,
            argmax=self.argmax is not None,
            certainty=self.certainty is not None,
            peaks=self.peaks is not None,
            topk=self.topk.k if self.topk is not None else None,
            classes=self.classes.indices if self.classes is not None else (),
            scores=tuple(parse_aggregator(key) for key in self.scores),
        )

    def outputs_record(self) -> dict[str, Any]:
        """The outputs as JSON types; null for what is not emitted."""
        topk, classes = self.topk, self.classes
        return {
            "logits": self.logits,
            "features": self.features,
            "grid": self.grid,
            "argmax": self.argmax,
            "certainty": self.certainty,
            "peaks": self.peaks,
            "topk": {"classes": topk.classes, "grid": topk.grid, "k": topk.k} if topk is not None else None,
            "classes": {"indices": list(classes.indices), "grid": classes.grid} if classes is not None else None,
            "scores": dict(self.scores),
        }


@dataclass(frozen=True, kw_only=True)
class Head(HeadOutputs):
    """One output of the vendor's model that was lifted.

    Attributes:
        output: the vendor's output that the head ends in; the first, if it has several.
        verdict: "exact" or "conditional".
        grid_shape: the grid's shape as the rewrite saw it; None or a symbol for an open axis.
        activation: what the vendor's graph makes of the logits: "softmax", "sigmoid" or "none".
        readout: "contribution" (mean over cells = logits) or "instance".
        quantized: whether the head rounds to integers on the way.
        note: anything a reader of the grid must know.
        rounding_bound: how far that alone may move a logit; None where no bound is known.
    """

    output: str
    verdict: str
    grid_shape: tuple[int | str | None, ...]
    activation: str = "none"
    readout: str = "contribution"
    quantized: bool = False
    rounding_bound: float | None = None
    note: str = ""


def require_emitted(wish: Emit, heads: Iterable[HeadOutputs], what: str) -> None:
    """Make sure that a rewritten model gives what is asked for.

    Raises:
        ModelError: it does not; only the original can be rewritten with more.
    """
    for head in heads:
        absent = wish.missing_from(head.emit)
        if absent:
            raise ModelError(
                f"{what} was rewritten to give {head.emit}, and {', '.join(absent)} was asked for: rewrite the "
                f"original with --emit {wish}."
            )


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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InputError) as error:
        raise _damaged(what, f"it cannot be read ({type(error).__name__}: {error})") from error
    if not heads:
        raise _damaged(what, "it names no head")
    known = set(outputs)
    absent = sorted({name for head in heads for name in head.tensors} - known)
    if absent:
        raise _damaged(what, f"the graph has no output {', '.join(map(repr, absent))}")
    return heads


def _head(entry: Mapping[str, Any]) -> Head:
    head = Head(
        output=_text(entry["output"]),
        verdict=_text(entry["verdict"]),
        logits=_text(entry["logits"]),
        features=_optional(entry.get("features")),
        grid=_optional(entry.get("grid")),
        argmax=_optional(entry.get("argmax")),
        certainty=_optional(entry.get("certainty")),
        peaks=_optional(entry.get("peaks")),
        topk=_topk(entry.get("topk")),
        classes=_classes(entry.get("classes")),
        scores={_text(key): _text(name) for key, name in (entry.get("scores") or {}).items()},
        grid_shape=tuple(entry.get("grid_shape") or ()),
        activation=_text(entry.get("activation", "none")),
        readout=_text(entry.get("readout", "contribution")),
        quantized=entry.get("quantized", False) is True,
        note=_text(entry.get("note", "")),
        rounding_bound=float(entry["rounding_bound"]) if entry.get("rounding_bound") is not None else None,
    )
    _ = head.emit  # a key that names no aggregator, a class below 0
    return head


def _topk(entry: Mapping[str, Any] | None) -> TopKOutputs | None:
    if entry is None:
        return None
    return TopKOutputs(int(entry["k"]), _text(entry["classes"]), _text(entry["grid"]))


def _classes(entry: Mapping[str, Any] | None) -> ClassesOutput | None:
    if entry is None:
        return None
    return ClassesOutput(tuple(int(index) for index in entry["indices"]), _text(entry["grid"]))


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _damaged(what: str, why: str) -> ModelError:
    return ModelError(
        f"{what}: its record of lifted heads ({HEADS_KEY}) is damaged: {why}. Rewrite the original again."
    )
