"""YOLO's detection data sets: `images/`, `labels/` with a text file an image, and names in `data.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from onnx_gapmil.data.building import build
from onnx_gapmil.data.files import exists, inside, is_image, printable, read_text, shown, walk_files
from onnx_gapmil.data.kept_out import KeptOut
from onnx_gapmil.data.records import MAX_BOXES
from onnx_gapmil.data.types import Corners, DataSet, RawBox, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.yaml_text import read_yaml
from onnx_gapmil.images.sources import natural_key

_CONFIGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLITS = ("val", "valid", "test", "train")
"""In the order in which one is taken: ultralytics' `val` reads the first as well."""

_CLASSES = "classes.txt"
_PIXELS = 2.0
"""A fraction of an image is never more, whatever an annotation tool lets overhang."""


def find_config(root: Place) -> Place | None:
    """What says of a folder that it is YOLO's: its `data.yaml`, or the folder itself, of `images` and `labels`."""
    for name in _CONFIGS:
        with suppress(DataError):  # YAML of something else may have another form
            if (root / name).is_file() and _parsed(root / name) is not None:
                return root / name
    both = (root / "images").is_dir() and (root / "labels").is_dir()
    return root if both and any(path.suffix == ".txt" for path in walk_files(root / "labels")) else None


def is_config(file: Place) -> bool:
    """Whether a file is YOLO's `data.yaml`, whatever its name."""
    return file.suffix.lower() in (".yaml", ".yml") and _parsed(file) is not None


def read_yolo(config: Place) -> DataSet:
    """Read a data set of object boxes.

    A line is `class x y width height`, the centre and size of a box as fractions of the image's width and height, or
    `class x0 y0 x1 y1 x2 y2 ...`, the corners of an outline, whose box is taken. An image without a text file, or with
    an empty one, has no object. An image's labels are the classes that occur in it.

    Of the splits that `data.yaml` states one is read: val, else test, else train.

    Args:
        config: `data.yaml`, or a folder of `images` and `labels`, whose classes have names in `classes.txt`.

    Raises:
        DataError: the file cannot be read, its folders are not there, or no line is left.
    """
    root = config if config.is_dir() else config.parent
    kept_out, notes = KeptOut(), list[str]()
    if config.is_dir():
        names = _listed_names(root)
        images = sorted(walk_files(root / "images"), key=natural_key)
    else:
        stated = _parsed(config) or {}
        names = _stated_names(stated.get("names"), config)
        split, images = _split_of(stated, config, kept_out)
        others = [name for name in _SPLITS if name != split and stated.get(name)]
        if others:
            notes.append(f"Of the splits of {config.name} '{split}' is read, and not {' or '.join(others)}.")
    placed = []
    for image in (path for path in images if is_image(path.name)):
        found = _sample(image, root, names, kept_out)
        if found is not None:
            placed.append((found, str(image)))
    what = f"YOLO boxes of {shown(config)}"
    if not placed:
        raise DataError(f"{what}: no image was found. {' '.join(kept_out.notes())}".strip())
    boxes = [box.box for sample, _ in placed for box in sample.boxes]
    if boxes and all(max(box) > _PIXELS for box in boxes):
        raise DataError(f"{what}: the numbers of all boxes are pixels, and YOLO's are fractions of the image's size.")
    return build(
        placed,
        kind="yolo",
        root=root,
        what=what,
        class_names=names,
        notes=[*notes, *kept_out.notes()],
        numbered=names is not None,
    )


def _sample(image: Place, root: Place, names: tuple[str, ...] | None, kept_out: KeptOut) -> RawSample | None:
    key = printable(inside(image, root))
    file = _label_file(image)
    boxes: list[RawBox] = []
    lines = read_text(file).text.splitlines() if exists(file) else []
    if len(lines) > MAX_BOXES:
        kept_out.add("image", f"more than {MAX_BOXES:,} boxes", key)
        return None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{printable(inside(file, root))}, line {number}"
        try:
            kind, corners = _read_line(line)
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


def _read_line(line: str) -> tuple[int, Corners]:
    """The class and the box of a line, as fractions.

    Raises:
        ValueError: it has another form.
    """
    first, *rest = line.split()
    numbers = [float(word) for word in rest]
    if len(numbers) == 4:
        x, y, width, height = numbers
        return int(first), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither a box nor an outline")
    across, down = numbers[0::2], numbers[1::2]
    return int(first), (min(across), min(down), max(across), max(down))


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


def _parsed(file: Place) -> Mapping[str, object] | None:
    """The file's content; None if it is not YOLO's."""
    parsed = read_yaml(file, DataError)
    if isinstance(parsed, dict) and "names" in parsed and any(name in parsed for name in _SPLITS):
        return parsed
    return None


def _stated_names(names: object, config: Place) -> tuple[str, ...]:
    """A list of names, or names by number from 0 on without a gap.

    Raises:
        DataError: it is neither.
    """
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise DataError(f"{config}: 'names' is no list of names, and no table of them by number from 0 on.")
    return tuple(str(name).strip() for name in names)


def _listed_names(root: Place) -> tuple[str, ...] | None:
    for place in (root, root / "labels"):
        if (place / _CLASSES).is_file():
            lines = [line.strip() for line in read_text(place / _CLASSES).text.splitlines() if line.strip()]
            return tuple(lines) or None
    return None


def _split_of(stated: Mapping[str, object], config: Place, kept_out: KeptOut) -> tuple[str, list[Place]]:
    """The split that is read, and its images in order.

    Raises:
        DataError: none of its folders is there.
    """
    tried: list[str] = []
    for split in (name for name in _SPLITS if stated.get(name)):
        written = stated[split]
        places = written if isinstance(written, list) else [written]
        found = [place for text in places if (place := _found(str(text), stated, config, tried)) is not None]
        images = [image for place in found for image in _images(place, kept_out)]
        if images:
            return split, images
    raise DataError(f"{config}: it has no split whose images are there; looked for {', '.join(tried[:6]) or 'none'}.")


def _found(written: str, stated: Mapping[str, object], config: Place, tried: list[str]) -> Place | None:
    """Where a split lies: in the folder of the file, below `path`, or without the `../` that exporters write."""
    top = config.parent
    path = stated.get("path")
    plain = written.replace("\\", "/").removeprefix("./")
    while plain.startswith("../"):
        plain = plain.removeprefix("../")
    if plain.startswith("/") or ".." in plain.split("/"):
        tried.append(written[:80])
        return None
    below = str(path).rstrip("/").rsplit("/", 1)[-1] if isinstance(path, str) and path not in ("", ".") else ""
    for place in dict.fromkeys([top / plain, *([top / below / plain] if below and ".." not in below else [])]):
        tried.append(str(place))
        if exists(place):
            return place
    return None


def _images(place: Place, kept_out: KeptOut) -> list[Place]:
    """The images of a folder, or those that a text file lists, one path a line."""
    if place.is_dir():
        return sorted((path for path in walk_files(place) if is_image(path.name)), key=natural_key)
    found = []
    for line in read_text(place).text.splitlines():
        plain = line.strip().replace("\\", "/").removeprefix("./")
        if plain.startswith("/") or ".." in plain.split("/"):
            kept_out.add("image", "a path that leads out", plain[:80])
        elif plain:
            found.append(place.parent / plain)
    return found
