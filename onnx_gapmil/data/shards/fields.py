"""What the columns of a row say of its image, as a label file would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx_gapmil.data.shards.features import Features, Objects

UNKNOWN = -1
"""The label of a row whose class is not known, in every data set of the `datasets` library."""

_CROWD = "iscrowd"
_NOT_KNOWN = "a label of -1, or none: the class is not known"


class LabelError(Exception):
    """A row's label is of no use."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.why, self.detail = why, detail


def fields_of(features: Features, values: Mapping[str, Any]) -> tuple[dict[str, object], int]:
    """A row as `read_labels` takes it, and how many objects of it are crowds.

    Crowds keep their label and lose their box, as where COCO itself is read.

    Args:
        features: the columns.
        values: of the row, by column.

    Raises:
        LabelError: its label is not known, or no class.
    """
    fields: dict[str, object] = {
        name: _plain(_named_or_same(values.get(name), features.names.get(name))) for name in features.columns
    }
    fields |= {name: values[name] for name in ("boxes", "box_labels") if values.get(name) is not None}
    found = _read_objects(features, values)
    if found.objects is not None:
        fields["objects"] = found.objects
    if features.label is None:
        if found.unknown and not found.labels:
            raise LabelError(_NOT_KNOWN)
        fields["labels"] = list(found.labels)
        return fields, found.crowds
    label = values.get(features.label)
    names = features.names.get(features.label)
    if isinstance(label, list):
        known = [entry for entry in label if not _is_unknown(entry)]
        if label and not known:
            raise LabelError(_NOT_KNOWN)
        fields["labels"] = [_named(_number(entry), names) for entry in known]
        return fields, found.crowds
    if _is_unknown(label):
        raise LabelError(_NOT_KNOWN)
    fields["label"] = _named(_number(label), names)
    return fields, found.crowds


def _is_unknown(label: object) -> bool:
    """-1, none, and what a table with a gap makes of them: -1.0, not a number."""
    if isinstance(label, bool) or not isinstance(label, int | float):
        return label is None
    return label == UNKNOWN or math.isnan(label)


def _number(label: object) -> object:
    if isinstance(label, float) and label.is_integer():
        return int(label)
    return int(label) if isinstance(label, bool) else label


def _named(label: object, names: Sequence[str] | None) -> object:
    if names is None or type(label) is not int:
        return label
    if not 0 <= label < len(names):
        raise LabelError(f"label out of range, which is 0 to {len(names) - 1:,}", f" (label {label:,})")
    return names[label]


def _named_or_same(value: object, names: Sequence[str] | None) -> object:
    """A column's value by its name; out of range it stays a number, and -1 is not known."""
    if names is None or type(value) is not int:
        return value
    if value == UNKNOWN:
        return None
    return names[value] if 0 <= value < len(names) else value


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else str(value)


@dataclass(frozen=True, slots=True)
class _Read:
    """The objects of a row: as `read_labels` takes them, and their labels, crowds' among them; how many are crowds, and
    how many of no known class."""

    objects: list[Any] | None = None
    labels: Sequence[object] = ()
    crowds: int = 0
    unknown: int = 0


def _read_objects(features: Features, values: Mapping[str, Any]) -> _Read:
    """An object of unknown class has no say."""
    if features.objects is None:
        own = values.get("objects")  # of another form, which `read_labels` says
        return _Read(own) if isinstance(own, list) else _Read()
    names = features.names.get(features.objects.column)
    objects: list[dict[str, object]] = []
    labels: dict[object, None] = {}
    crowds = unknown = 0
    for corners, kind, crowd in _entries(values.get(features.objects.column), features.objects):
        if _is_unknown(kind):
            unknown += 1
            continue
        label = _named(_number(kind), names)
        for each in label if isinstance(label, list) else [label]:
            labels[each] = None
        if crowd:
            crowds += 1
        else:
            objects.append({"box": corners, "label": label})
    return _Read(objects, tuple(labels), crowds, unknown)


def _entries(value: object, spelled: Objects) -> list[tuple[object, object, object]]:
    """Box, class, and whether it is a crowd, of a struct of lists or of a list of structs."""
    wanted = (spelled.box, spelled.category, _CROWD)
    if isinstance(value, Mapping):
        boxes, kinds, crowds = (value.get(name) or [] for name in wanted)
        if len(boxes) != len(kinds):
            raise LabelError("objects that have not one class for each box")
        crowds = crowds if len(crowds) == len(boxes) else [False] * len(boxes)
        return list(zip(boxes, kinds, crowds, strict=True))
    listed = value if isinstance(value, list) else []
    return [
        (entry.get(spelled.box), entry.get(spelled.category), entry.get(_CROWD))
        for entry in listed
        if isinstance(entry, Mapping)
    ]
