"""Find out which layout a data set has, and read it."""

from __future__ import annotations

from pathlib import Path

from onnx_gapmil.data import coco, ilsvrc
from onnx_gapmil.data.building import Placed, build
from onnx_gapmil.data.files import ImageFinder, Text, absolute, exists, inside, is_image, listed, read_text, shown
from onnx_gapmil.data.folders import LAYOUTS, read_folders
from onnx_gapmil.data.jsonlines import JsonRecords, is_json_lines, load_json, read_json_lines, read_json_list
from onnx_gapmil.data.recognise import JSONS, TABLES, fields_of, recognise
from onnx_gapmil.data.records import NEEDED, has_fields
from onnx_gapmil.data.shards.box_reading import settle_boxes
from onnx_gapmil.data.shards.finding import (
    SHARDS,
    find_shards,
    folder_of_shards,
    instead_of_shards,
    read_shards,
    refuse_deeper_shards,
)
from onnx_gapmil.data.shards.listing import is_pattern, unread_archive
from onnx_gapmil.data.synsets import find_synset_mapping
from onnx_gapmil.data.tables import read_table
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.data.voc import find_annotations, read_voc
from onnx_gapmil.data.yolo import read_yolo
from onnx_gapmil.data.yolo_config import find_config, is_config
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.memory import without_collection
from onnx_gapmil.files.remote import Place, require_url
from onnx_gapmil.files.urls import is_url

_XML_HERE = "annotations in XML, one file an image, are read from a local folder; copy it here."


def open_data(path: str | Path, *, labels: str | Path | None = None) -> DataSet:
    """Open a labelled data set, whatever its layout; docs/datasets.md shows each.

    A folder is taken for the first of these that fits: Pascal VOC or ILSVRC (XML files), the one label file that it
    holds (CSV, JSON-lines, JSON list, COCO, `LOC_val_solution.csv`), YOLO (`data.yaml`, or `images` and `labels`), a
    list of names and labels, shards (Parquet, tars of WebDataset), folders of classes.

    Args:
        path: DATA: a folder, or a label file with the images in its folder; a Parquet file or a tar, or a pattern of
            several.
        labels: a label file for the images in the folder `path`: any of the above, or a folder of XML files, or an
            image set of Pascal VOC. Of Parquet, the column of labels.

    Raises:
        DataError: nothing is there, no layout fits, or what is there is broken; says what and where.
    """
    data = _place(path)
    pattern = not exists(data) and is_pattern(data)
    if not pattern and not exists(data):
        raise DataError(f"{data}: no such file or folder; check the path.")
    root = absolute(data) if isinstance(data, Path) else data
    try:
        with without_collection():
            if pattern or (root.suffix.lower() in SHARDS and root.is_file()):
                return read_shards(find_shards(root), str(labels) if labels is not None else None)
            if labels is None:
                return _open_folder(root) if data.is_dir() else _open_file(root)
            if not data.is_dir():
                raise DataError(f"{data}: with a label file in --labels, DATA has to be the folder of its images.")
            file = _place(labels)
            return _open_labelled(root, absolute(file) if isinstance(file, Path) else file)
    except OSError as error:  # a folder that may not be listed, a disk that fails
        raise DataError(f"{data}: cannot be read ({error}).") from error


def _place(given: str | Path) -> Place:
    """A path, or what a URL leads to.

    Raises:
        DataError: the URL cannot be opened.
    """
    return require_url(given, DataError) if isinstance(given, str) and is_url(given) else Path(given)


def _annotations(root: Place) -> Path | None:
    """The folder of XML files of a data set's folder; None without one.

    Raises:
        DataError: they lie behind a URL, where each would be fetched alone.
    """
    if isinstance(root, Path):
        return find_annotations(root)
    if (root / "Annotations").is_dir():
        raise DataError(f"{root}: {_XML_HERE}")
    return None


def _open_folder(root: Place) -> DataSet:
    annotations = _annotations(root)
    if annotations is not None and isinstance(root, Path):
        return read_voc(root, annotations)
    _refuse_nested(root)
    files = [entry for entry in listed(root) if not entry.name.startswith(".") and entry.is_file()]
    kinds = {file: recognise(file) for file in files}
    chosen = _choose({file: kind for file, kind in kinds.items() if kind not in (None, "list")}, root)
    if chosen is None and (root / "annotations").is_dir():
        inner = {file: recognise(file) for file in listed(root / "annotations") if file.suffix == ".json"}
        chosen = _choose({file: kind for file, kind in inner.items() if kind == "coco"}, root)
    if chosen is not None:
        return _read_label_file(chosen, root)
    if (config := find_config(root)) is not None:
        return read_yolo(config)
    lists = [file for file, kind in kinds.items() if kind == "list"]
    if len(lists) == 1 and not any(entry.is_dir() for entry in root.iterdir() if not entry.name.startswith(".")):
        return _read_label_file(lists[0], root)
    if (shards := folder_of_shards(root)) is not None:
        return read_shards(shards, None)
    others = [file for file in files if file.suffix.lower() in TABLES | JSONS]
    if len(others) == 1 and any(is_image(file.name) for file in files):
        return _read_label_file(others[0], root)  # it says which fields it found and which are needed
    if (root / "JPEGImages").is_dir():
        raise DataError(f"{root}: it has JPEGImages, as Pascal VOC, but no Annotations with XML files, so no labels.")
    found = "".join(f"; {file.name} has the fields {fields_of(file)}" for file in others[:3])
    said = f"{found}; {NEEDED}" if found else ""
    return read_folders(root, lambda: _instead(root, said))


def _instead(root: Place, said: str) -> str:
    """What a folder has that is no data set, for a message.

    Raises:
        DataError: it has shards, in the folders below.
    """
    refuse_deeper_shards(root)
    nearly = instead_of_shards(root)
    return f"; {nearly}{said}" if nearly else said


def _choose(files: dict[Place, str | None], root: Place) -> Place | None:
    """The one label file; of several, ImageNet's validation boxes, or COCO's only instances."""
    if len(files) > 1:
        liked = [file for file in files if file.name == "LOC_val_solution.csv"]
        liked = liked or [file for file in files if file.name.startswith("instances_")]
        if len(liked) != 1:
            listed = ", ".join(inside(file, root) for file in list(files)[:8])
            raise DataError(f"{root}: it has several label files; say which with --labels: {listed}.")
        return liked[0]
    return next(iter(files), None)


def _refuse_nested(root: Place) -> None:
    """VOCdevkit/VOC2007, ILSVRC/Annotations: the data sets lie one folder deeper."""
    deeper = [entry for entry in listed(root) if entry.is_dir() and _has_voc(entry)]
    if deeper:
        places = ", ".join(str(entry) for entry in deeper)
        solution = root / "LOC_val_solution.csv"
        also = f", or the images' folder with --labels {solution}" if solution.is_file() else ""
        raise DataError(f"{root}: the annotations lie one folder deeper; give {places}{also}.")


def _has_voc(folder: Place) -> bool:
    return any((folder / name).is_dir() for name in ("Annotations", "JPEGImages"))


def _open_file(file: Place) -> DataSet:
    if file.suffix.lower() == ".txt" and file.parent.parent.name == "ImageSets":
        return _open_labelled(file.parents[2], file)
    if file.suffix.lower() == ".xml":
        raise DataError(f"{file}: this is the annotation of one image; give the folder of the data set.")
    if is_config(file):
        return read_yolo(file)
    if said := unread_archive(file):
        raise DataError(f"{file}: this is {said}.")
    if is_image(file.name):
        raise DataError(f"{file}: this is one image; a labelled data set was expected ({LAYOUTS}).")
    return _read_label_file(file, file.parent)


def _open_labelled(root: Place, labels: Place) -> DataSet:
    if labels.is_dir():
        if not isinstance(root, Path) or not isinstance(labels, Path):
            raise DataError(
                f"{labels}: annotations in XML, one file an image, are read from a local folder; copy it here."
            )
        if find_annotations(labels) != labels and not any(labels.rglob("*.xml")):
            raise DataError(f"{labels}: the folder given with --labels has no XML file.")
        return read_voc(root, labels)
    if isinstance(root, Path) and isinstance(labels, Path) and labels.suffix.lower() == ".txt":
        annotations = find_annotations(root)
        if annotations is not None:
            return read_voc(root, annotations, image_set=labels)
    if not exists(labels) and (shards := folder_of_shards(root)) is not None:
        return read_shards(shards, labels.name)
    return _read_label_file(labels, root)


def _read_label_file(file: Place, root: Place) -> DataSet:
    ending = file.suffix.lower()
    text = read_text(file)
    what = f"{file.name} in {shown(file.parent)}"
    if ending in TABLES and recognise(file) != "loc":
        placed = read_table(file, text, ImageFinder([root, file.parent]))
        return build(placed, kind="csv", root=root, what=what, notes=text.notes)
    if ending in TABLES:
        finder = ImageFinder(ilsvrc.image_folders(file, root))
        names = find_synset_mapping(file.parent) or find_synset_mapping(root)
        placed = ilsvrc.read_loc_solution(file, text, finder)
        return build(placed, kind="ilsvrc", root=root, what=what, class_names=names, notes=text.notes)
    if ending == ".txt":
        placed = ilsvrc.read_list(file, text, ImageFinder(ilsvrc.image_folders(file, root)))
        return build(placed, kind="list", root=root, what=what, notes=text.notes)
    if ending in JSONS:
        return _read_json(file, root, what)
    raise DataError(f"{file}: not a label file that is known. Known layouts: {LAYOUTS}.")


def _read_json(file: Place, root: Place, what: str) -> DataSet:
    text = read_text(file)
    finder = ImageFinder([root, file.parent])
    if file.suffix.lower() != ".json" or is_json_lines(text.text):
        return _of_records(read_json_lines(file, text, finder), root, what, text)
    data = load_json(text.text, str(file), large=recognise(file) == "coco")
    if isinstance(data, dict) and coco.is_coco(data):
        top = file.parent.parent if root == file.parent and root.name == "annotations" else root
        found = coco.read_coco(file, data, ImageFinder(coco.image_folders(file, top)))
        return build(
            found.placed, kind="coco", root=top, what=f"COCO, {what}", class_names=found.class_names, notes=found.notes
        )
    if isinstance(data, dict) and has_fields(data):
        data = [data]
    if not isinstance(data, list):
        fields = ", ".join(repr(str(name)[:40]) for name in list(data)[:12]) if isinstance(data, dict) else "none"
        raise DataError(
            f"{file}: not a data set that is known: its fields are {fields}. A list of objects is read ({NEEDED}), and "
            f"COCO ('images', 'annotations', 'categories')."
        )
    return _of_records(read_json_list(file, data, finder), root, what, text)


def _of_records(found: JsonRecords, root: Place, what: str, text: Text) -> DataSet:
    placed: Placed = found.placed
    notes = list(text.notes)
    if found.as_bbox:
        placed, note = settle_boxes(placed, "objects", what)
        notes += [note] if note else []
    return build(placed, kind="jsonl", root=root, what=what, notes=notes)
