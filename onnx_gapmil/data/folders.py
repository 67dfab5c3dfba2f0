"""Folders of classes: `root/class/image.jpg`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from onnx_gapmil.data.building import build
from onnx_gapmil.data.files import absolute, inside, is_array, is_image, printable, shown, walk
from onnx_gapmil.data.recognise import JSONS, TABLES
from onnx_gapmil.data.splits import SPLITS
from onnx_gapmil.data.synsets import WNID, find_synset_mapping
from onnx_gapmil.data.types import DataSet, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place, RemotePath
from onnx_gapmil.files.wording import are, count
from onnx_gapmil.images.sources import natural_key

_LABEL_FILES = TABLES | JSONS | {".xml"}
_PLAIN = {"image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "jpegimages", "data"}


def read_folders(root: Place, what_else: Callable[[], str]) -> DataSet:
    """Read a folder whose subfolders are classes; their names are the labels, or numbers if all are.

    Images in deeper folders belong to the top folder's class. Links to folders are followed; a link back to a
    folder above is not. Hidden files and folders are passed over.

    Args:
        root: the folder.
        what_else: says what else lies there, for the message when there are no classes.

    Raises:
        DataError: no folder has an image; or the folders are splits, or one folder that is no class.
    """
    root = absolute(root) if isinstance(root, Path) else root
    folders = sorted(
        (entry for entry in root.iterdir() if not entry.name.startswith(".") and entry.is_dir()), key=natural_key
    )
    images = {folder: sorted(_images(folder, (), is_image), key=natural_key) for folder in folders}
    if not any(images.values()):  # beside photos, .npy are masks or features
        images = {folder: sorted(_images(folder, (), is_array), key=natural_key) for folder in folders}
    classes = [folder for folder in folders if images[folder]]
    loose = sum(is_image(entry.name) for entry in root.iterdir())
    if not classes:
        raise DataError(_nothing(root, folders, loose, what_else))
    _refuse_splits(root, classes, images, what_else)
    placed = [
        (RawSample(image, printable(inside(image, root)), (printable(folder.name),)), str(folder))
        for folder in classes
        for image in images[folder]
    ]
    synsets = find_synset_mapping(root) if all(WNID.fullmatch(folder.name) for folder in classes) else None
    what, notes = f"Folders of classes in {shown(root)}", _notes(folders, images, loose)
    return build(placed, kind="folders", root=root, what=what, class_names=synsets, notes=notes)


def _images(folder: Place, above: tuple[tuple[int, int], ...], wanted: Callable[[str], bool]) -> Iterator[Place]:
    if isinstance(folder, RemotePath):
        for place, _, names in walk(folder):
            yield from (place / name for name in names if wanted(name))
        return
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link back: its images are counted already
        return
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror}).") from error
    for entry in found:
        if entry.is_dir():
            yield from _images(folder / entry.name, (*above, here), wanted)
        elif wanted(entry.name):
            yield folder / entry.name


def _nothing(root: Place, folders: list[Place], loose: int, what_else: Callable[[], str]) -> str:
    if loose:
        found = f"{count(loose, 'image')}, but no folders of classes"
    elif folders:
        found = f"{count(len(folders), 'folder')}, none with an image"
    else:
        found = "no folder and no image"
    return f"{root}: no data set was recognised: {found}{what_else()}. Known layouts: {LAYOUTS}."


LAYOUTS = (
    "folders of classes (DATA/cat/1.jpg), a CSV, JSON-lines or JSON file with 'image' and 'label', COCO "
    "(instances_*.json), YOLO (data.yaml, images/, labels/), Pascal VOC (Annotations/*.xml, JPEGImages/), ILSVRC "
    "(wnids in XML, LOC_val_solution.csv, val.txt), Parquet of the Hugging Face kind, tars of WebDataset; "
    "see docs/datasets.md"
)


def _refuse_splits(
    root: Place, classes: list[Place], images: dict[Place, list[Place]], what_else: Callable[[], str]
) -> None:
    names = [folder.name.lower() for folder in classes]
    deep = all(image.parent != folder for folder in classes for image in images[folder][:100])
    if all(name in SPLITS for name in names):
        listed = ", ".join(str(folder) for folder in classes)
        bare = not deep and not any(_may_have_labels(folder) for folder in classes)
        more = f" They hold images without class folders, so a label file is needed too{what_else()}." if bare else ""
        raise DataError(f"{root}: its folders are splits of a data set, not classes; give one of them: {listed}.{more}")
    if len(classes) == 1 and deep:
        raise DataError(f"{root}: it has one folder with images, and these lie deeper; give {classes[0]} instead.")
    if len(classes) == 1 and names[0] in _PLAIN:
        raise DataError(
            f"{root}: its only folder with images is {classes[0].name!r}, which is no class; labels are missing"
            f"{what_else()} (known layouts: {LAYOUTS})."
        )


def _may_have_labels(folder: Place) -> bool:
    return any(entry.suffix.lower() in _LABEL_FILES for entry in folder.iterdir())


def _notes(folders: list[Place], images: dict[Place, list[Place]], loose: int) -> list[str]:
    notes = []
    empty = [printable(folder.name) for folder in folders if not images[folder]]
    if empty:
        none = "is no class" if len(empty) == 1 else "are no classes"
        notes.append(f"{count(len(empty), 'folder')} without an image {none}: {', '.join(empty[:5])}.")
    if not any(image.parent == folder for folder in folders for image in images[folder]):
        notes.append("All images lie in deeper folders; the top folders are taken for the classes.")
    if loose:
        notes.append(f"{are(loose, 'image')} left out: beside the folders of classes, in none of them.")
    return notes
