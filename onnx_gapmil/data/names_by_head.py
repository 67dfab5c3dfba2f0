"""Which head the class names belong to: that whose scores they name in the graph, else those of as many classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_gapmil.data.class_names import ClassNames, class_names
from onnx_gapmil.data.stated_names import StatedNames
from onnx_gapmil.errors import LabelsError


@dataclass(frozen=True)
class NamedHead:
    """What names need to know of a head.

    Attributes:
        output: its name.
        logits: K.
        features: whether it is no head of classes, but feeds one: it has no class names.
    """

    output: str
    logits: int
    features: bool = False

    @property
    def classes(self) -> int:
        """One logit is two classes."""
        return max(2, self.logits)

    @property
    def described(self) -> str:
        """For a message."""
        if self.features:
            return f"'{self.output}' ({self.logits:,} features)"
        return f"'{self.output}' ({self.classes:,} classes{' by one logit' if self.logits == 1 else ''})"


def names_by_head(
    model_path: Path | None,
    heads: Sequence[NamedHead],
    *,
    asked: str | Path | Sequence[str] | None = None,
    stated: Sequence[StatedNames] = (),
    wanted: str | None = None,
) -> tuple[ClassNames, ...]:
    """The names of each head's classes.

    Names that the graph gives to scores (a ZipMap, texts picked by an ArgMax) belong to the head whose scores they are.
    Others belong to every head with as many logits; where there is none, two names to the heads of one logit, whose one
    name *x* is *not x* and *x*. Heads that names are not for have None, and a sentence that says so.

    Args:
        model_path: where the model lies; None for one in memory.
        heads: all of the model's.
        asked: a file of names, or the names; looked for beside the model if None.
        stated: what the model's file holds.
        wanted: the output of the only head that is used: names that are asked for have to be its own.

    Returns:
        For each head names of its classes, two of a head of one logit.

    Raises:
        LabelsError: the names cannot be read, or fit no head; or not the one that is used.
    """
    owned = {entry: owners for entry in stated if (owners := _owners(entry, heads))}
    if asked is not None or not owned:
        return _by_count(model_path, heads, asked=asked, stated=stated, wanted=wanted)
    found: list[ClassNames] = []
    for place, head in enumerate(heads):
        own = [entry for entry in stated if entry not in owned or head.output in owned[entry]]
        own.sort(key=lambda entry: entry not in owned)  # what the graph gives it before what fits by number
        names = _by_count(model_path, heads, asked=None, stated=own, wanted=wanted)[place]
        others = [entry for entry in owned if head.output not in owned[entry]]
        if names.names is None and not head.features and others:
            texts = "; ".join(f"{entry.source} are of {owned[entry][0]!r}" for entry in others)
            own_number = f"the {head.classes:,} classes of '{head.output}' are shown by number."
            names = replace(names, source=f"{texts[:1].upper()}{texts[1:]}; {own_number}")
        found.append(names)
    return tuple(found)


def _owners(entry: StatedNames, heads: Sequence[NamedHead]) -> tuple[str, ...]:
    """The heads whose scores the graph gives names to."""
    return tuple(head.output for head in heads if head.output in entry.kin)


def _by_count(
    model_path: Path | None,
    heads: Sequence[NamedHead],
    *,
    asked: str | Path | Sequence[str] | None,
    stated: Sequence[StatedNames],
    wanted: str | None,
) -> tuple[ClassNames, ...]:
    """Names by how many they are."""
    named = [head for head in heads if not head.features]
    fitting = [head for head in named if wanted in (None, head.output)] if asked is not None else named
    exact = dict.fromkeys(head.logits for head in fitting)
    counts = [*exact, *([2] if 1 in exact and 2 not in exact else [])]
    errors: list[LabelsError] = []
    unnamed: list[ClassNames] = []
    for count in counts:
        try:
            found = class_names(model_path, count, asked=asked, stated=stated)
        except LabelsError as error:
            errors.append(error)
            continue
        if found.names is not None:
            return tuple(_of(head, found, count, named) for head in heads)
        unnamed.append(found)
    if not errors:
        nothing = (*unnamed, ClassNames(None, "Features have no class names."))[0]
        return tuple(nothing for _ in heads)
    if len(heads) == 1 or len(fitting) == 1:
        raise errors[0]
    raise LabelsError(f"{errors[0]} The model's heads: {', '.join(head.described for head in heads)}.")


def _of(head: NamedHead, found: ClassNames, count: int, named: Sequence[NamedHead]) -> ClassNames:
    """What names of so many classes are to a head."""
    if found.names is None:
        return found
    two_for_one = count == 2 and head.logits == 1 and not any(other.logits == 2 for other in named)
    if not head.features and (head.logits == count or two_for_one):
        return found.of_two_classes() if head.logits == 1 else found
    owners = [f"'{other.output}'" for other in named if other.logits == count or (count == 2 and other.logits == 1)]
    own = "are features, no classes" if head.features else f"are {head.classes:,}, shown by number"
    source = f"{found.source} They are of {', '.join(owners)}; those of '{head.output}' {own}."
    return replace(found, names=None, wnids=None, source=source)
