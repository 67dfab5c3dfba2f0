"""Pascal VOC, and ILSVRC's boxes in the same XML: `Annotations/*.xml` with images and masks beside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnx_gapmil.data.building import build
from onnx_gapmil.data.files import is_image, printable, read_text, shown
from onnx_gapmil.data.splits import SPLITS
from onnx_gapmil.data.synsets import WNID, find_synset_mapping
from onnx_gapmil.data.types import Corners, DataSet, RawBox, RawSample
from onnx_gapmil.data.xmlfile import XmlAnnotation, counts_from_zero, read_annotation
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.wording import are, count, of_are
from onnx_gapmil.images.sources import natural_key

MAX_ANNOTATIONS = 2_000_000

_MASK_FOLDERS = ("SegmentationObject", "SegmentationClass")


def find_annotations(root: Path) -> Path | None:
    """The folder of XML files in a data set's folder: `Annotations`, or the folder itself; None without one."""
    for folder in (root / "Annotations", root / "annotations"):
        if folder.is_dir() and _xml_files(folder, limit=1):
            return folder
    return root if any(root.glob("*.xml")) else None


def read_voc(root: Path, annotations: Path, *, image_set: Path | None = None) -> DataSet:
    """Read annotations in XML, one file an image.

    Pascal VOC counts pixels from 1 and both ends belong to the box (development kit, "bounding box"): the edges are
    xmin - 1, ymin - 1, xmax, ymax. Annotation tools that export "VOC" often count from 0; where an edge below 1 occurs
    anywhere, all are taken as written, and a note says so. ILSVRC (all names are WordNet ids) counts from 0, both ends
    included: the edges are xmin, ymin, xmax + 1, ymax + 1.

    An image's labels are the classes that occur in it. Objects marked `difficult` are kept, which is noted. Masks come
    from `SegmentationObject`, else `SegmentationClass`.

    Args:
        root: the folder of the data set, or of the images alone.
        annotations: the folder of XML files; deeper ones are found too.
        image_set: a text file of image names without ending, one a line, such as `ImageSets/Main/val.txt`.

    Raises:
        DataError: an XML file is broken (which and where), an image set names what is not there, or there is nothing.
    """
    files = sorted(_xml_files(annotations), key=natural_key)
    _refuse_splits(files, annotations)
    notes: list[str] = []
    if image_set is not None:
        files = _chosen(files, _image_set(image_set), image_set)
    elif (sets := _image_sets(root)) != "":
        notes.append(f"All annotations are read; --labels takes an image set alone, such as {sets}.")
    read = [read_annotation(file) for file in files]
    images, masks = _Images(root, annotations), _masks(root) or _masks(annotations.parent)
    names = {item.name for found in read for item in found.objects}
    ilsvrc = bool(names) and all(WNID.fullmatch(name) for name in names)
    zero = counts_from_zero(read)
    placed = []
    for found in read:
        if found.objects:
            image = images.find(found)
            boxes = tuple(
                RawBox(_edges(item.box, ilsvrc=ilsvrc, zero=zero), (item.name,))
                for item in found.objects
                if item.box is not None
            )
            labels = tuple(dict.fromkeys(item.name for item in found.objects))
            name = printable(os.path.relpath(image, root).replace(os.sep, "/"))
            placed.append((RawSample(image, name, labels, boxes, masks.get(found.path.stem)), str(found.path)))
    notes += _notes(read, len(placed), zero=zero and not ilsvrc)
    kind, what = ("ilsvrc", "ILSVRC boxes") if ilsvrc else ("voc", "Pascal VOC")
    mapping = find_synset_mapping(root) if ilsvrc else None
    return build(placed, kind=kind, root=root, what=f"{what} in {shown(annotations)}", class_names=mapping, notes=notes)


def _edges(box: Corners, *, ilsvrc: bool, zero: bool) -> Corners:
    x0, y0, x1, y1 = box
    if ilsvrc:
        return x0, y0, x1 + 1, y1 + 1
    return box if zero else (x0 - 1, y0 - 1, x1, y1)


def _xml_files(folder: Path, *, limit: int = MAX_ANNOTATIONS) -> list[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(place, name) for name in names if name.lower().endswith(".xml") and not name.startswith(".")]
        if len(found) >= limit:
            break
    return found


class _Images:
    """Finds the image of an annotation: in the folder that mirrors the annotation's, else anywhere below.

    The mirror comes first because ILSVRC has 1.3 million images that nobody asked for beside the 50,000 asked for.
    """

    def __init__(self, root: Path, annotations: Path) -> None:
        self.homes = _homes(root) or (_homes(root.parent) if root == annotations else []) or [root]
        self._folders: dict[Path, dict[str, Path]] = {}
        self._all: dict[str, Path] | None = None

    def find(self, found: XmlAnnotation) -> Path:
        """By the annotation's own name, which is the rule in VOC; by `<filename>` otherwise."""
        keys = (found.path.stem, found.filename, Path(found.filename).stem)
        mirror = _below_annotations(found.path.parent)
        for folder in (home / mirror for home in self.homes):
            if folder not in self._folders:
                self._folders[folder] = _by_name([folder / name for name in _names_in(folder)])
            for key in keys:
                if key in self._folders[folder]:
                    return self._folders[folder][key]
        if self._all is None:
            self._all = _by_name([path for home in self.homes for path in _walk(home)])
        for key in keys:
            if key in self._all:
                return self._all[key]
        return self.homes[0] / (found.filename or f"{found.path.stem}.jpg")


def _below_annotations(folder: Path) -> Path:
    """`CLS-LOC/val` of `ILSVRC/Annotations/CLS-LOC/val`."""
    for above in (folder, *folder.parents):
        if above.name.lower() == "annotations":
            return folder.relative_to(above)
    return Path()


def _homes(top: Path) -> list[Path]:
    return [home for name in ("JPEGImages", "Data", "images") if (home := top / name).is_dir()]


def _names_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if is_image(name)) if folder.is_dir() else []  # noqa: PTH208


def _walk(home: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(home):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "Segmentation")))
        yield from (Path(place, name) for name in sorted(names) if is_image(name))


def _by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Images by their names with and without ending; the first of several."""
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(path.name, path)
        found.setdefault(path.stem, path)
    return found


def _masks(root: Path) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for folder in _MASK_FOLDERS:
        if (root / folder).is_dir():
            for path in (root / folder).glob("*.png"):
                masks.setdefault(path.stem, path)
    return masks


def _refuse_splits(files: Sequence[Path], annotations: Path) -> None:
    """ILSVRC keeps the annotations of training and validation side by side."""
    splits: dict[Path, None] = {}
    for file in files:
        place = file.parent
        while place != annotations and place.name.lower() not in SPLITS:
            place = place.parent
        splits[place] = None
    if len(splits) > 1 and annotations not in splits:
        listed = ", ".join(str(split) for split in splits)
        raise DataError(f"{annotations}: it has the annotations of several splits; give one with --labels: {listed}.")


def _image_sets(root: Path) -> str:
    found = sorted((root / "ImageSets").glob("*/*.txt"))
    best = [path for path in found if path.stem == "val"] or found
    return str(best[0]) if best else ""


def _image_set(path: Path) -> list[str]:
    """Names of an image set; of a class's set (`2008_000002 -1`), those where the class is present."""
    names = []
    lines = [line.split() for line in read_text(path).text.splitlines()]
    if all(parts[1:] == [str(number)] for number, parts in enumerate(lines, 1)):  # ILSVRC numbers its lines
        lines = [parts[:1] for parts in lines]
    for number, parts in enumerate(lines, 1):
        if len(parts) > 2 or (len(parts) == 2 and parts[1] not in ("-1", "0", "1")):
            raise DataError(
                f"{path}, line {number}: {' '.join(parts)[:60]!r}; an image name, and maybe -1, 0 or 1, was expected."
            )
        if parts and parts[1:] != ["-1"]:
            names.append(parts[0])
    if not names:
        raise DataError(f"{path}: the image set names no image.")
    return names


def _chosen(files: Sequence[Path], names: Sequence[str], image_set: Path) -> list[Path]:
    by_stem = {file.stem: file for file in files}
    missing = [name for name in dict.fromkeys(names) if name not in by_stem]
    if missing:
        raise DataError(
            f"{image_set}: {len(missing):,} of its {count(len(names), 'image')} "
            f"{'has' if len(missing) == 1 else 'have'} no annotation: {', '.join(missing[:5])}."
        )
    return [by_stem[name] for name in dict.fromkeys(names)]


def _notes(read: Sequence[XmlAnnotation], kept: int, *, zero: bool) -> list[str]:
    notes = []
    objects = [item for found in read for item in found.objects]
    difficult = sum(item.difficult for item in objects)
    if difficult:
        notes.append(f"{of_are(difficult, len(objects), 'object')} marked difficult, and kept.")
    if kept < len(read):
        notes.append(f"{are(len(read) - kept, 'image without an object', 'images without an object')} left out.")
    if zero:
        notes.append("Boxes have edges below 1, so they count from 0, unlike Pascal VOC: they are taken as written.")
    return notes
