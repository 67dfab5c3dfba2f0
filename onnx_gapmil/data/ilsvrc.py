"""ILSVRC's other label files: `LOC_val_solution.csv`, and lists of names and labels such as `val.txt`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnx_gapmil.data.files import ImageFinder, Text, exists
from onnx_gapmil.data.synsets import WNID
from onnx_gapmil.data.tables import rows
from onnx_gapmil.data.types import Label, RawBox, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place

_TRAIN = re.compile(r"(n\d{8})_\d+")
ENDINGS = ("", ".JPEG", ".jpg", ".jpeg", ".png")


def image_folders(file: Place, data_folder: Place) -> list[Place]:
    """Where the images of ILSVRC may lie, the likeliest first."""
    trees = ("", "Data/CLS-LOC/", "ILSVRC/Data/CLS-LOC/")
    places = (".", *(f"{tree}{split}" for split in ("val", "train") for tree in trees))
    tops = dict.fromkeys([data_folder, file.parent])
    return [folder for top in tops for place in places if (folder := top / place).is_dir()]


def read_loc_solution(path: Place, text: Text, finder: ImageFinder) -> list[tuple[RawSample, str]]:
    """Read Kaggle's `LOC_val_solution.csv`: `ImageId,PredictionString`, five words an object.

    An object is `n02017213 115 49 448 294`: wnid, xmin, ymin, xmax, ymax, counted from 0, both ends included; so
    the edges are xmin, ymin, xmax + 1, ymax + 1.

    Raises:
        DataError: names the line.
    """
    found = []
    for row, where in rows(path, text.text):
        words = row["predictionstring"].split()
        if not words or len(words) % 5:
            raise DataError(f"{where}: {len(words)} words; five an object were expected, wnid and four numbers.")
        boxes = tuple(_box(words[start : start + 5], where) for start in range(0, len(words), 5))
        image = _find(row["imageid"].strip(), where, finder)
        labels = tuple(dict.fromkeys(box.label[0] for box in boxes))
        found.append((RawSample(image, finder.name(image), labels, boxes), where))
    return found


def _box(words: list[str], where: str) -> RawBox:
    if not WNID.fullmatch(words[0]):
        raise DataError(f"{where}: {words[0][:40]!r} is no WordNet id such as n01440764.")
    try:
        x0, y0, x1, y1 = (float(word) for word in words[1:])
    except ValueError:
        raise DataError(f"{where}: box {' '.join(words[1:])[:60]!r}; four numbers were expected.") from None
    return RawBox((x0, y0, x1 + 1, y1 + 1), (words[0],))


def _find(written: str, where: str, finder: ImageFinder) -> Place:
    """Images of the training set lie in the folder of their wnid."""
    train = _TRAIN.fullmatch(written)
    if train:
        path = finder.find(f"{train[1]}/{written}", where, endings=ENDINGS)
        if exists(path):
            return path
    return finder.find(written, where, endings=ENDINGS)


def read_list(path: Place, text: Text, finder: ImageFinder) -> list[tuple[RawSample, str]]:
    """Read lines of `name label`, as in Caffe's `val.txt`: a number, a wnid or a name; a tab allows names with spaces.

    The ending of an image's name may be left out.

    Raises:
        DataError: names the line; or the file is one of those that look alike and say something else: the development
            kit's ground truth (numbers of another order), or ImageNet's image sets (the line's number).
    """
    lines = list(_pairs(path, text.text))
    if len(lines) >= 10 and all(label == str(number) for number, (_, label, _) in enumerate(lines, 1)):
        raise DataError(
            f"{path}: its second column only counts the lines, as in ImageNet's ImageSets: these are no labels. Give "
            f"LOC_val_solution.csv, or a list with labels, with --labels."
        )
    found = []
    for name, label, where in lines:
        image = finder.find(name, where, endings=ENDINGS)
        labels: tuple[Label, ...] = (label,)
        found.append((RawSample(image, finder.name(image), labels), where))
    return found


def _pairs(path: Place, text: str) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        parts = [part.strip() for part in (line.strip().split("\t") if "\t" in line else line.strip().rsplit(None, 1))]
        if len(parts) == 1 and parts[0].isdecimal():
            raise DataError(
                f"{where}: a number without an image. ILSVRC2012_validation_ground_truth.txt has the development kit's "
                f"own numbers, in another order than the classes of models; give LOC_val_solution.csv or val.txt."
            )
        if len(parts) != 2 or not all(parts):
            raise DataError(f"{where}: {line.strip()[:60]!r}; an image and its label were expected.")
        yield parts[0], parts[1], where
