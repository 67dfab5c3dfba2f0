"""The names of a rewritten graph's outputs, for one head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from onnx_gapmil.aggregate.aggregator import parse_aggregator
from onnx_gapmil.rewriting.emission.emit import Emit


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
        features: (N, C, H, W), the feature grid; here and below, of a volume (D, H, W), of a clip (T, H, W).
        grid: (N, K, H, W), the prediction grid.
        argmax: (N, H, W) int64, the best class of each cell.
        certainty: (N, H, W), its softmax share.
        peaks: (N, K) int64, the best cell of each class, numbered in row-major order.
        topk: the image's best classes and their grid.
        classes: the grid of chosen classes.
        scores: by the aggregator's key, (N, K).
        placeless: (N, K), the part of the logits that every cell has alike since no place brings it; of heads that read
            a class token.
        pooled: (N, K), the scores that the model itself answers by, of a head that was repooled: another aggregator
            gives them, and not the mean, whose scores ``logits`` are.
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
    placeless: str | None = None
    pooled: str | None = None

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
            "placeless": self.placeless,
            "pooled": self.pooled,
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

    def as_fields(self) -> dict[str, Any]:
        """The fields as keyword arguments of a value that is a `HeadOutputs` and more."""
        return {entry.name: getattr(self, entry.name) for entry in fields(HeadOutputs)}

    def outputs_json(self) -> dict[str, Any]:
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
            **({} if self.placeless is None else {"placeless": self.placeless}),
            **({} if self.pooled is None else {"pooled": self.pooled}),
        }


def read_outputs(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `HeadOutputs`, from its JSON; what is missing or null is not emitted.

    Raises:
        KeyError, TypeError, ValueError, InputError: the JSON is something else.
    """
    topk, classes = entry.get("topk"), entry.get("classes")
    found = HeadOutputs(
        logits=text_of(entry["logits"]),
        features=_optional(entry.get("features")),
        grid=_optional(entry.get("grid")),
        argmax=_optional(entry.get("argmax")),
        certainty=_optional(entry.get("certainty")),
        peaks=_optional(entry.get("peaks")),
        topk=TopKOutputs(int(topk["k"]), text_of(topk["classes"]), text_of(topk["grid"])) if topk is not None else None,
        classes=_classes(classes) if classes is not None else None,
        scores={text_of(key): text_of(name) for key, name in (entry.get("scores") or {}).items()},
        placeless=_optional(entry.get("placeless")),
        pooled=_optional(entry.get("pooled")),
    )
    _ = found.emit  # a key that names no aggregator, a class below 0
    return found.as_fields()


def _classes(entry: Mapping[str, Any]) -> ClassesOutput:
    return ClassesOutput(tuple(int(index) for index in entry["indices"]), text_of(entry["grid"]))


def _optional(value: object) -> str | None:
    return None if value is None else text_of(value)


def text_of(value: object) -> str:
    """A piece of JSON that must be text.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
