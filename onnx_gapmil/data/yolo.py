"""YOLO's detection data sets: `images/`, `labels/` with a text file an image, and names in `data.yaml`."""

from __future__ import annotations

from pathlib import Path

from onnx_gapmil.data.building import build
from onnx_gapmil.data.files import exists, inside, is_image, printable, read_text, shown
from onnx_gapmil.data.kept_out import KeptOut
from onnx_gapmil.data.records import MAX_BOXES
from onnx_gapmil.data.types import Corners, DataSet, RawBox, RawSample
from onnx_gapmil.data.yolo_config import YoloSplit, read_split
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place, RemotePath

_PIXELS = 2.0
"""A fraction of an image is never more, whatever an annotation tool lets overhang."""


def read_yolo(config: Place) -> DataSet:
    """Read a data set of object boxes.

    A line is `class x y width height`, the centre and size of a box as fractions of the image's width and height, or
    `class x0 y0 x1 y1 x2 y2 ...`, the corners of an outline, whose box is taken; where `data.yaml` states a skeleton's
    points, these follow the box and are not read. An image without a text file, or with
    an empty one, has no object. An image's labels are the classes that occur in it.

    Of the splits that `data.yaml` states one is read: val, else test, else train.

    Args:
        config: `data.yaml`, or a folder of `images` and `labels`, whose classes have names in `classes.txt`.

    Raises:
        DataError: the file cannot be read, its folders are not there, or no line is left.
    """
    kept_out = KeptOut()
    split = read_split(config, kept_out)
    placed = []
    for image in (path for path in split.images if is_image(path.name)):
        found = _sample(image, split, kept_out)
        if found is not None:
            placed.append((found, str(image)))
    what = f"YOLO boxes of {shown(config)}"
    if not placed:
        said = "no image is left." if kept_out.notes() else "no image was found."
        raise DataError(f"{what}: {' '.join([said, *kept_out.notes()])}")
    first = placed[0][0].image
    if isinstance(first, Path | RemotePath) and exists(first) and not any(sample.labels for sample, _ in placed):
        raise DataError(f"{what}: no image has a label; the first text file was looked for at {_label_file(first)}.")
    boxes = [box.box for sample, _ in placed for box in sample.boxes]
    if boxes and all(max(box) > _PIXELS for box in boxes):
        raise DataError(f"{what}: the numbers of all boxes are pixels, and YOLO's are fractions of the image's size.")
    return build(
        placed,
        kind="yolo",
        root=split.root,
        what=what,
        class_names=split.names,
        notes=[*split.notes, *kept_out.notes()],
        numbered=split.names is not None,
    )


def _sample(image: Place, split: YoloSplit, kept_out: KeptOut) -> RawSample | None:
    root, names = split.root, split.names
    key = printable(inside(image, root))
    file = _label_file(image)
    boxes: list[RawBox] = []
    try:
        lines = read_text(file).text.splitlines() if exists(file) else []
    except DataError as error:
        kept_out.add("image", "a text file that cannot be read", str(error).rstrip("."))
        return None
    if len(lines) > MAX_BOXES:
        kept_out.add("image", f"more than {MAX_BOXES:,} boxes", key)
        return None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{printable(inside(file, root))}, line {number}"
        try:
            kind, corners = _read_line(line, split.keypoints)
        except ValueError:
            kept_out.add("image", "a line that is no class and box", f"{place} ({line.strip()[:40]!r})")
            return None
        if kind < 0 or (names is not None and kind >= len(names)):
            most = f", which is 0 to {len(names) - 1:,}" if names is not None else ""
            kept_out.add("image", f"class out of range{most}", f"{place} (class {kind:,})")
            return None
        boxes.append(RawBox(corners, (names[kind] if names is not None else kind,)))
    labels = tuple(dict.fromkeys(box.label[0] for box in boxes))
    return RawSample(image, key, labels, tuple(boxes), relative=True)


def _read_line(line: str, keypoints: int) -> tuple[int, Corners]:
    """The class and the box of a line, as fractions.

    Args:
        line: of a text file.
        keypoints: numbers behind the box that are a skeleton's.

    Raises:
        ValueError: it has another form.
    """
    first, *rest = line.split()
    numbers = [float(word) for word in rest]
    kind = float(first)  # NumPy's `savetxt` writes 3 as 3.0
    if not kind.is_integer():
        raise ValueError("the class is no whole number")
    if len(numbers) == 4 or (keypoints and len(numbers) == 4 + keypoints):
        x, y, width, height = numbers[:4]
        return int(kind), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither a box nor an outline")
    across, down = numbers[0::2], numbers[1::2]
    return int(kind), (min(across), min(down), max(across), max(down))


def _label_file(image: Place) -> Place:
    """`labels/val/1.txt` of `images/val/1.jpg`: the last folder `images` becomes `labels`; without one, beside it."""
    deeper: list[str] = [f"{image.stem}.txt"]
    for folder in image.parents:
        if folder.name == "images":
            place = folder.parent / "labels"
            for name in deeper:
                place = place / name
            return place
        deeper.insert(0, folder.name)
    return image.parent / f"{image.stem}.txt"
