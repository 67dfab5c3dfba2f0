"""What the columns of a Parquet file hold, by its schema and by what the `datasets` library wrote into that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from onnx_gapmil.data.records import FIELDS
from onnx_gapmil.errors import DataError

_KEY = b"huggingface"
_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")
_LABELS = ("label", "labels", "class", "cls", "target")
_BOXES, _CATEGORIES = ("bbox", "bboxes", "box"), ("category", "categories", "label", "labels", "class", "category_id")

Form = Literal["struct", "bytes", "path"]


@dataclass(frozen=True, slots=True)
class Objects:
    """The column of objects.

    Attributes:
        column: its name: `objects`, else that of the only column of this form.
        box: how its boxes are called there: `bbox`, or `box` as in a label file.
        category: how their classes are called.
    """

    column: str
    box: str
    category: str

    @property
    def as_in_label_files(self) -> bool:
        """Whether boxes are corners, as a label file's; what the `datasets` library calls `bbox` may be either."""
        return self.box == "box"


@dataclass(frozen=True, slots=True)
class Features:
    """The columns that are read.

    Attributes:
        image: the column of images.
        form: how it holds them: a struct of `bytes` and `path`, bytes, or paths.
        label: the column of labels; None where the objects alone have some.
        texts: whether its labels are texts; not, where they are numbers.
        names: by column, the names of its classes, where the schema states them (ClassLabel).
        objects: the column of boxes and their classes; None without one.
        mask: the column of masks, which are images too; None without one.
        columns: the others, of plain values.
    """

    image: str
    form: Form
    label: str | None
    texts: bool
    names: Mapping[str, tuple[str, ...]]
    objects: Objects | None
    mask: str | None
    columns: tuple[str, ...]

    @property
    def labels_from(self) -> str:
        """The column whose classes the labels are."""
        return self.label or (self.objects.column if self.objects is not None else "")

    @property
    def bytes_column(self) -> str | None:
        """The column that is read for an image's bytes, `image.bytes` of a struct; None of paths."""
        return {"struct": f"{self.image}.bytes", "bytes": self.image, "path": None}[self.form]


def features_of(schema: pa.Schema, asked: str | None = None, *, labelled: bool = True) -> Features | None:
    """The columns of a file; None if it has no images.

    Images are a column that the schema's metadata say to be of images, else one of a usual name, else the first one, of
    structs with `bytes` and `path`, or of bytes; a column `image` of texts holds paths.

    Args:
        schema: of the file.
        asked: the column of labels that the user names.
        labelled: whether labels are looked for.

    Raises:
        DataError: the column that is asked for is not there, or several could hold the labels; without the file's name.
    """
    stated = _stated(schema)
    image = _image(schema, stated)
    if image is None:
        return None
    names = {field.name: found for field in schema if (found := _class_names(stated.get(field.name))) is not None}
    objects = _objects(schema)
    own = None if objects is None else _category_names(stated.get(objects.column), objects.category)
    label = _label(schema, names, asked) if labelled else None
    if objects is not None and own is not None:
        names[objects.column] = own
    mask = "mask" if "mask" in schema.names and _form(schema.field("mask")) == "struct" else None
    taken = {image, label, mask, *FIELDS}
    others = tuple(
        field.name for field in schema if field.name not in taken and _is_plain(field.type) and "." not in field.name
    )
    form = _form(schema.field(image))
    assert form is not None  # noqa: S101 (what makes it a column of images)
    texts = label is not None and _is_text(_entry_type(schema.field(label).type))
    return Features(image, form, label, texts, names, objects, mask, others)


def _stated(schema: pa.Schema) -> Mapping[str, Any]:
    """The features by column that the `datasets` library states; none where that cannot be read."""
    try:
        features = json.loads((schema.metadata or {})[_KEY])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _image(schema: pa.Schema, stated: Mapping[str, Any]) -> str | None:
    fit = [name for name in dict.fromkeys(schema.names) if schema.names.count(name) == 1 and "." not in name]
    found = [name for name in fit if _form(schema.field(name)) in ("struct", "bytes") and name != "mask"]
    said = [
        name for name in found if isinstance(stated.get(name), dict) and stated[name].get("_type") == "Image"
    ] or found
    usual = [name for name in _IMAGES if name in said]
    if usual or said:
        return (usual or said)[0]
    return "image" if "image" in fit and _form(schema.field("image")) == "path" else None


def _form(field: pa.Field) -> Form | None:
    kind = field.type
    if pa.types.is_struct(kind):
        parts = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
        if "bytes" not in parts:
            return None
        # Where no row has bytes, PyArrow infers a column of nulls: all images are files beside the shard.
        by_path = pa.types.is_null(parts["bytes"]) and "path" in parts and _is_text(parts["path"])
        return "struct" if by_path or _is_binary(parts["bytes"]) else None
    if _is_binary(kind):
        return "bytes"
    return "path" if _is_text(kind) else None


def _is_binary(kind: pa.DataType) -> bool:
    return _any(kind, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)


def _is_text(kind: pa.DataType) -> bool:
    return _any(_value_type(kind), pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _value_type(kind: pa.DataType) -> pa.DataType:
    """Of a dictionary, which pandas writes of its categories, what it stands for."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _entry_type(kind: pa.DataType) -> pa.DataType:
    """Of a list, the type of what it lists."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_list_view, pa.types.is_fixed_size_list)
    return kind.value_type if _any(kind, *lists) else kind


def _any(kind: pa.DataType, *tests: Callable[[pa.DataType], bool]) -> bool:
    return any(test(kind) for test in tests)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values are texts, numbers, truth values or times: those that make slices."""
    kind = _value_type(kind)
    return _is_text(kind) or any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_temporal)
    )


def _class_names(feature: object) -> tuple[str, ...] | None:
    """The names of a ClassLabel, or of a list of such; None of another feature."""
    while isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        feature = feature.get("feature")
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        return None
    return tuple(name.strip() for name in names)


def _label(schema: pa.Schema, names: Mapping[str, object], asked: str | None) -> str | None:
    if asked is not None:
        if asked not in schema.names:
            listed = ", ".join(repr(name[:40]) for name in schema.names[:12])
            raise DataError(f"it has no column {asked!r}; its columns are {listed}.")
        return asked
    usual = [name for name in _LABELS if name in schema.names]
    if usual or len(names) <= 1:
        return next(iter(usual or names), None)
    listed = ", ".join(repr(name[:40]) for name in list(names)[:8])
    raise DataError(f"it has several columns of classes ({listed}); say with --labels COLUMN which one is meant.")


def _objects(schema: pa.Schema) -> Objects | None:
    """The column `objects`, else the only one that holds boxes and classes."""
    found = {field.name: spelled for field in schema if (spelled := _box_and_category(field.type)) is not None}
    name = "objects" if "objects" in found else next(iter(found)) if len(found) == 1 else None
    return None if name is None else Objects(name, *found[name])


def _box_and_category(kind: pa.DataType) -> tuple[str, str] | None:
    """How boxes and classes are called in a struct of lists, or in a list of structs."""
    kind = _entry_type(kind)
    if not pa.types.is_struct(kind):
        return None
    parts = [kind.field(place).name for place in range(kind.num_fields)]
    boxes = [name for name in _BOXES if name in parts]
    categories = [name for name in _CATEGORIES if name in parts]
    return (boxes[0], categories[0]) if boxes and categories else None


def _category_names(feature: object, category: str) -> tuple[str, ...] | None:
    while isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        feature = feature.get("feature")
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    return _class_names(feature.get(category)) if isinstance(feature, dict) else None
