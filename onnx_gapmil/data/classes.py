"""Translate the labels of a data set to the classes of a model, and say how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_gapmil.data.building import all_labels
from onnx_gapmil.data.mapfile import look_up, read_map_file
from onnx_gapmil.data.names import LENIENT, index_names, is_background, without_wnid, wnid_of
from onnx_gapmil.data.odd_labels import below_zero, odd_labels
from onnx_gapmil.data.offsets import candidate_offsets
from onnx_gapmil.data.types import Box, ClassMap, DataSet, Label, RawSample, Sample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.wording import are, count, were
from onnx_gapmil.images.sources import natural_key

_ORDERED = {"folders", "ilsvrc"}


@dataclass(frozen=True, slots=True)
class _Model:
    """What is known of the model's classes."""

    classes: int
    names: tuple[str, ...] | None
    wnids: tuple[str, ...] | None

    def described(self) -> str:
        """The model's classes, for a message."""
        if self.names is None:
            return f"{count(self.classes, 'class')} whose names are not known"
        first = ", ".join(repr(name[:40]) for name in self.names[:3])
        return f"{count(self.classes, 'class')} ({first}{', ...' if self.classes > 3 else ''})"


_ADVICE = (
    "Give the model's class names (--names, or STEM.labels.txt beside it), or a map file (--class-map): "
    '{"label": class index or name, ...}'
)


def resolve_classes(
    data: DataSet,
    *,
    classes: int,
    names: Sequence[str] | None = None,
    wnids: Sequence[str] | None = None,
    map_file: str | Path | None = None,
    offset: int | None = None,
) -> ClassMap:
    """Find out which of the model's classes each label means.

    1. A map file decides alone.
    2. Labels that are names are matched with the model's names: exactly; by WordNet id; apart from case, spaces,
       underscores and hyphens; by the first of several names (`tench, Tinca tinca`); by another of them. A key
       that two classes share matches neither.
    3. If the model's names are not known, folders that are as many as the model's classes (or one fewer: a
       background class 0) are numbered in alphabetical order, as torchvision and Keras do; this is said.
    4. Labels that are numbers get `offset`, or the likeliest of `candidate_offsets`. Where several are
       possible, the sentence says that this one is assumed.

    Args:
        data: the data set.
        classes: the number K of the model's classes.
        names: the model's class names, one a class, or None.
        wnids: their WordNet ids, one a class, or None.
        map_file: a JSON object or a table of two columns, see `read_map_file`.
        offset: class = label + offset, where the caller knows it.

    Raises:
        DataError: labels match no class (names up to five of them and how many match), there are more labels
            than classes, or the map file is broken.
    """
    for given in (names, wnids):
        if given is not None and len(given) != classes:
            raise DataError(f"{were(len(given), 'class name')} given for a model of {count(classes, 'class')}.")
    model = _Model(classes, tuple(names) if names is not None else None, tuple(wnids) if wnids is not None else None)
    labels = list(all_labels(data.samples))
    if map_file is not None:
        return _mapped(labels, Path(map_file), model)
    own = {name.strip() for name in names or ()}
    if not own.issuperset(map(str, labels)) and (said := below_zero(data.samples, labels)):
        raise DataError(said)
    if len(labels) > classes:
        raise DataError(
            f"The data set has {count(len(labels), 'label')} ({_some(labels)}), and the model only "
            f"{model.described()}.{odd_labels(data.samples, labels, classes, offset or 0)} If several labels mean one "
            "class, or some are to be left out, give --class-map FILE."
        )
    texts = [label for label in labels if isinstance(label, str)]
    numbers = [label for label in labels if isinstance(label, int)]
    if not texts and data.kind == "folders" and (digits := _digit_names(numbers, model)) is not None:
        return ClassMap(None, digits, "Folders' names, which are numbers, are matched with the model's class names.")
    by_name, said = _by_name(texts, data, model) if texts else ({}, "")
    if not numbers:
        return ClassMap(None, by_name, said)
    chosen, why = _offset(numbers, data, model, offset)
    table: dict[Label, tuple[int, ...]] = {**by_name, **{number: (number + chosen,) for number in sorted(numbers)}}
    return ClassMap(chosen, table, f"{said} {why}".strip())


def apply_class_map(data: DataSet, class_map: ClassMap, *, unlabelled: bool = False) -> Sequence[Sample]:
    """Translate all labels.

    An image whose labels the map leaves out is left out; so is a box. A box without a label of its own gets the
    image's labels.

    Args:
        data: the data set.
        class_map: what its labels mean.
        unlabelled: keep images that the data set says to have no label, as a multi-label head's negatives.

    Raises:
        DataError: the map does not have a label, or leaves no image.
    """
    samples = PackedList(
        sample
        for raw in data.samples
        if (raw.labels or unlabelled) and (sample := _translated(raw, class_map.table)) is not None
    )
    if not any(sample.labels for sample in samples):
        raise DataError("The class map leaves out the labels of all images.")
    return samples


def _translated(raw: RawSample, table: Mapping[Label, tuple[int, ...]]) -> Sample | None:
    labels = _classes(raw.labels, table)
    if raw.labels and not labels:
        return None
    boxes = [Box(box.box, _classes(box.label, table) if box.label else labels) for box in raw.boxes]
    kept = tuple(box for box in boxes if box.classes)
    return Sample(raw.image, raw.name, labels, kept, raw.mask, raw.columns, raw.relative)


def _classes(labels: Sequence[Label], table: Mapping[Label, tuple[int, ...]]) -> tuple[int, ...]:
    found: set[int] = set()
    for label in labels:
        if label not in table:
            raise DataError(f"The class map has no entry for label {label!r}.")
        found.update(table[label])
    return tuple(sorted(found))


def _mapped(labels: list[Label], file: Path, model: _Model) -> ClassMap:
    given = read_map_file(file, classes=model.classes, names=model.names, wnids=model.wnids)
    found = {label: look_up(given, label) for label in labels}
    table = {label: classes for label, classes in found.items() if classes is not None}
    missing = [label for label in labels if label not in table]
    if missing:
        raise DataError(
            f"{file}: it has {len(table):,} of the data set's {len(labels):,} labels; {_some(missing)} lack. "
            f"Add them; null as the class leaves a label out."
        )
    dropped = [label for label, classes in table.items() if not classes]
    if len(dropped) == len(table):
        raise DataError(f"{file}: it leaves out all labels of the data set.")
    left_out = f"; {are(len(dropped), 'label')} left out ({_some(dropped)})" if dropped else ""
    return ClassMap(None, table, f"Labels are mapped to classes by {file}{left_out}.")


def _digit_names(numbers: list[int], model: _Model) -> dict[Label, tuple[int, ...]] | None:
    """Folders 0, 1, 10, 2 of a model whose classes have these as names: ImageFolder counts 10 as class 2."""
    if model.names is None or not all(name.isdecimal() for name in model.names):
        return None
    places = {int(name): index for index, name in enumerate(model.names)}
    if len(places) != model.classes or not all(number in places for number in numbers):
        return None
    return {number: (places[number],) for number in sorted(numbers)}


def _by_name(texts: list[str], data: DataSet, model: _Model) -> tuple[dict[Label, tuple[int, ...]], str]:
    if model.names is None and model.wnids is None:
        return _by_order(texts, data, model, "The model's class names are not known")
    index = index_names(model.names, model.wnids)
    aliases = _aliases(data)
    found = {text: index.find(text, aliases.get(text, ())) for text in texts}
    matched = {text: match for text, match in found.items() if match is not None}
    missing = [text for text in texts if text not in matched]
    if missing and not matched and all(wnid_of(text) for text in texts):
        return _by_order(texts, data, model, "The model's classes have names, but no WordNet ids")
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(texts):,} labels match no class of the model: {_some(missing)}. The model has "
            f"{model.described()}. {_ADVICE}."
        )
    _refuse_shared(matched, model)
    ways = Counter(way for _, way in matched.values())
    how = ", ".join(f"{count:,} {way}" for way, count in ways.most_common())
    return {text: (match[0],) for text, match in matched.items()}, f"Labels are matched with class names ({how})."


def _refuse_shared(matched: Mapping[str, tuple[int, str]], model: _Model) -> None:
    """Two labels of one class are spellings of it if both match closely; if not, one is likely another thing."""
    owners: dict[int, str] = {}
    for text, (index, way) in matched.items():
        other = owners.setdefault(index, text)
        if other != text and (way in LENIENT or matched[other][1] in LENIENT):
            name = repr(model.names[index]) if model.names else f"class {index}"
            raise DataError(
                f"Labels {other!r} and {text!r} both match {name}; say with --class-map which classes they mean."
            )


def _aliases(data: DataSet) -> dict[str, tuple[str, ...]]:
    """What a data set's own list says a WordNet id means, where it has such a list (LOC_synset_mapping.txt)."""
    result: dict[str, tuple[str, ...]] = {}
    for name in data.class_names or ():
        wnid, words = wnid_of(name), without_wnid(name)
        if wnid and words and wnid != name:
            result[wnid] = (words,)
    return result


def _by_order(texts: list[str], data: DataSet, model: _Model, why: str) -> tuple[dict[Label, tuple[int, ...]], str]:
    order = list(data.class_names or ())
    background = len(order) == model.classes - 1 and (model.names is None or is_background(model.names[0]))
    if not (data.numbered or data.kind in _ORDERED) or not (len(order) == model.classes or background):
        raise DataError(
            f"{why}, so the labels ({_some(texts)}) cannot be matched with its {model.classes:,} classes; "
            f"{_ADVICE[0].lower()}{_ADVICE[1:]}."
        )
    places: dict[str, int] = {}
    for index, name in enumerate(order):
        places[name] = places[wnid_of(name) or name] = index + background
    one = "; class 0 is taken for a background class" if background else ""
    how = "as the data set numbers them" if data.numbered else "in alphabetical order, as training tools do"
    said = f"{why}: the {len(order):,} labels are numbered {how}{one}."
    return {text: (places[text],) for text in texts}, said


def _offset(numbers: list[int], data: DataSet, model: _Model, wanted: int | None) -> tuple[int, str]:
    low, high = min(numbers), max(numbers)
    span = f"Labels are numbers from {low:,} to {high:,}, and the model has {model.described()}"
    if wanted is not None:
        if low + wanted < 0 or high + wanted >= model.classes:
            odd = odd_labels(data.samples, numbers, model.classes, wanted)
            raise DataError(
                f"{span}: with offset {wanted:+d} they would be {low + wanted:,} to {high + wanted:,}.{odd}"
            )
        return wanted, f"{span}: {_formula(wanted)}, as given."
    candidates = candidate_offsets(data, model.classes, model.names)
    if not candidates:
        odd = odd_labels(data.samples, numbers, model.classes)
        raise DataError(f"{span}: no offset of -1, 0 or 1 makes them fit.{odd} {_ADVICE}.")
    chosen = candidates[0]
    because = ""
    if chosen == 1:
        because = ", since class 0 is a background class" if model.names else ", if class 0 is a background class"
    elif chosen == -1:
        because = ", since the labels count from 1"
    others = " or ".join(f"{other:+d}" if other else "0" for other in candidates[1:])
    doubt = f" This is assumed: offset {others} would fit as well." if others else ""
    return chosen, f"{span}: {_formula(chosen)}{because}.{doubt}"


def _formula(offset: int) -> str:
    return "class = label" if offset == 0 else f"class = label {'+' if offset > 0 else '-'} {abs(offset)}"


def _some(labels: Sequence[Label]) -> str:
    """Up to five labels, for a message."""
    ordered = sorted(labels, key=lambda label: natural_key(Path(str(label))))
    shown = ", ".join(repr(label) if isinstance(label, int) else repr(label[:60]) for label in ordered[:5])
    return shown + (", ..." if len(labels) > 5 else "")
