"""What a labelled data set is, before and after its labels are translated to the model's classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.texts import Texts

Label = int | str
"""A label as the data set writes it: a number, or a name (a wnid such as `n01440764` is a name)."""

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1: edges in pixels of the upright stored image; (0, 0) is its upper left corner, x1 and y1 lie
outside the last pixel, so that the whole image is (0, 0, width, height)."""


@dataclass(frozen=True, slots=True)
class RawBox:
    """A box as the data set has it; its coordinates are not checked yet.

    Attributes:
        box: x0, y0, x1, y1, edges in pixels of the upright stored image.
        label: ids that all mean this object; empty for the image's own label.
    """

    box: Corners
    label: tuple[Label, ...] = ()


@dataclass(frozen=True, slots=True)
class RawSample:
    """An image with its labels as the data set has them.

    Attributes:
        image: absolute path of the file, which need not be there; or where its bytes lie in a shard or behind a URL.
        name: its key, unique in the data set: relative to its root, with `/`; of a row or a member, `SHARD#KEY`; always
            text that can be printed.
        labels: one or many; none where the data set says that nothing is there.
        boxes: boxes of objects.
        mask: the file of the object's mask, to be read by `read_mask`.
        columns: what else the label file says of it, (column, value) each, as text: it makes slices.
        relative: whether the boxes are fractions of the image's width and height, as YOLO writes them, and no pixels.
    """

    image: Source
    name: str
    labels: tuple[Label, ...]
    boxes: tuple[RawBox, ...] = ()
    mask: Source | None = None
    columns: tuple[tuple[str, str], ...] = ()
    relative: bool = False


@dataclass(frozen=True, slots=True)
class DataSet:
    """A labelled data set as it was found.

    Attributes:
        samples: its images, at least one, in natural order of names or in the label file's order.
        kind: `folders`, `csv`, `jsonl` (JSON lists too), `list`, `coco`, `voc`, `ilsvrc`, `yolo`, `parquet` or
            `webdataset`.
        root: absolute path of the folder that names are relative to, or its URL.
        source: one sentence, to be printed: what was read and where.
        class_names: the data set's own names of classes, in its own order; None where labels are numbers.
        notes: sentences, to be printed: what was left out or assumed.
        numbered: whether the data set states that `class_names` are its classes in the order of their numbers.
    """

    samples: Sequence[RawSample]
    kind: str
    root: Place
    source: str
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    numbered: bool = False

    def to_json(self) -> dict[str, Any]:
        """The data set without its samples: `kind`, `root`, `source`, `images`, `keys_sha256`, `notes`."""
        return {
            "kind": self.kind,
            "root": str(self.root),
            "source": self.source,
            "images": len(self.samples),
            "keys_sha256": keys_digest(sample.name for sample in self.samples),
            "notes": list(self.notes),
        }


def keys_digest(names: Iterable[str]) -> str:
    """SHA-256 of a data set's keys (the names of its images), whatever their order: which images they are."""
    texts = Texts.of(names)
    digest = hashlib.sha256()
    for place, name in enumerate(texts.at(texts.order())):
        digest.update(f"\n{name}".encode() if place else name.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Box:
    """A box of an object, with the model's classes that mean it.

    Attributes:
        box: x0, y0, x1, y1, edges in pixels of the upright stored image.
        classes: the model's class indexes, sorted; any of them is right; never empty.
    """

    box: Corners
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with the model's classes; see `RawSample`.

    Attributes:
        labels: the model's class indexes, sorted; none only of images that the data set says to have none.
    """

    image: Source
    name: str
    labels: tuple[int, ...]
    boxes: tuple[Box, ...] = ()
    mask: Source | None = None
    columns: tuple[tuple[str, str], ...] = ()
    relative: bool = False


@dataclass(frozen=True, slots=True)
class ClassMap:
    """How labels become the model's classes.

    Attributes:
        offset: what is added to labels that are numbers; None where no number is mapped so.
        table: the model's classes of each label, sorted; several mean that any of them is right; none, that the
            map leaves this label out.
        source: one or two sentences, to be printed: how the map was found.
    """

    offset: int | None
    table: Mapping[Label, tuple[int, ...]]
    source: str

    def to_json(self) -> dict[str, Any]:
        """`offset`, `source`, and `table` from label to classes unless the offset alone says it all."""
        plain = all(
            type(label) is int and classes == (label + (self.offset or 0),) for label, classes in self.table.items()
        )
        table = {str(label): list(classes) for label, classes in self.table.items()}
        return {"offset": self.offset, "source": self.source, "table": None if plain else table}
