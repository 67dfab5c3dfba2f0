"""What a file says beside its head: how photos are prepared for it, and what its classes are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx_gapmil.data.class_names import ClassNames
from onnx_gapmil.data.names_by_head import NamedHead, names_by_head
from onnx_gapmil.data.stated_names import NAME_KEYS, stated_names
from onnx_gapmil.errors import InputError, LabelsError
from onnx_gapmil.images.input_spec import image_spec
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess
from onnx_gapmil.images.stated import unknown_keys
from onnx_gapmil.rewriting.sizing.record import size_of

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.graph.loading import LoadedModel

#: What is printed where nothing is known.
_NOTHING: dict[str, Any] = {
    "preprocess_assumed": False,
    "preprocess_guessed": [],
    "preprocess_parts": {},
    "preprocess_notes": [],
}


@dataclass(frozen=True)
class StatedNote:
    """What is stated, and by what.

    Attributes:
        preprocess: how photos become inputs; None where the model takes none, or what states it cannot be followed.
        problem: why it is None.
        names: by output, the names of its classes and where they come from.
        unknown_keys: metadata keys that say something which is not read here.
        metadata: all of the file's.
    """

    preprocess: ResolvedPreprocess | None = None
    problem: str = ""
    names: Mapping[str, ClassNames] = field(default_factory=dict)
    unknown_keys: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``inspect --json`` prints it."""
        found = self.preprocess
        nothing = {"preprocess": None, "preprocess_source": self.problem, **_NOTHING}
        return {
            **(found.to_json() if found is not None else nothing),
            "class_names": {
                output: {"names": list(names.names) if names.names is not None else None, "source": names.source}
                for output, names in self.names.items()
            },
            "metadata": dict(self.metadata),
            "metadata_unknown": list(self.unknown_keys),
        }


def stated_note(
    source: LoadedModel,
    heads: Sequence[NamedHead],
    asked: str | Path | Sequence[str] | None = None,
    *,
    alone: bool = False,
) -> StatedNote:
    """Look for all that states how a model is fed and what its classes are called.

    Args:
        source: the model.
        heads: those that are lifted.
        asked: a file of class names, or the names.
        alone: whether it takes one image without a batch.

    Raises:
        LabelsError: the names that are asked for cannot be read, or fit no head.
    """
    preprocess, problem = _preprocess(source, alone=alone)
    try:
        found = names_by_head(source.path, heads, asked=asked, stated=stated_names(source.proto))
    except LabelsError as error:
        if asked is not None:
            raise
        found = tuple(ClassNames(None, str(error)) for _ in heads)  # beside the model; whoever runs it is told so
    names = {head.output: own for head, own in zip(heads, found, strict=True)}
    unknown = unknown_keys(source.metadata, NAME_KEYS)
    return StatedNote(preprocess, problem, names, unknown, source.metadata)


def _preprocess(source: LoadedModel, *, alone: bool) -> tuple[ResolvedPreprocess | None, str]:
    spec = image_spec(source.proto, alone=alone)
    if spec is None:
        return None, "none: the model has several inputs, or none of numbers"
    try:
        found = resolve_preprocess(
            spec,
            request=None,
            model_path=source.path,
            metadata=source.metadata,
            proto=source.proto,
            sized=size_of(source.metadata) is not None,
        )
    except InputError as error:
        return None, str(error)
    return found, ""
