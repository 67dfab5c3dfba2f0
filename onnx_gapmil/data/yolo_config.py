"""What a YOLO data set says of itself: `data.yaml` as ultralytics reads it, Darknet's `obj.data`, or folders alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from onnx_gapmil.data.files import ImageFinder, absolute, exists, is_image, listed, read_text, walk_files
from onnx_gapmil.data.kept_out import KeptOut
from onnx_gapmil.data.splits import SPLITS as FOLDERS
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.yaml_text import read_yaml
from onnx_gapmil.images.sources import natural_key

SPLITS = ("val", "valid", "validation", "test", "train")
"""In the order in which one is taken: ultralytics' `val` reads the first as well, and takes `validation` for it."""

_CONFIGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_DARKNET = "obj.data"
_ENDINGS = (".yaml", ".yml")
_CLASSES = "classes.txt"


@dataclass(frozen=True, slots=True)
class YoloSplit:
    """The images that are read, and what is known of their text files.

    Attributes:
        root: the folder that images are named from.
        images: in order.
        names: of the classes, by number; None where they have none.
        keypoints: numbers of a line that follow its box, which are points of a skeleton.
        notes: what is to be said of the choice.
    """

    root: Place
    images: list[Place]
    names: tuple[str, ...] | None
    keypoints: int = 0
    notes: list[str] = field(default_factory=list)


def find_config(root: Place) -> Place | None:
    """What says of a folder that it is YOLO's: its `data.yaml`, or the folder itself, of `images` and `labels`.

    Raises:
        DataError: there are several, or `data.yaml` lies beside `images` and `labels` and cannot be read.
    """
    both = (root / "images").is_dir() and (root / "labels").is_dir()
    both = both and any(path.suffix == ".txt" for path in walk_files(root / "labels"))
    if (root / _DARKNET).is_file():
        return root / _DARKNET
    for name in _CONFIGS:
        try:
            if (root / name).is_file() and _parsed(root / name) is not None:
                return root / name
        except DataError:
            if both:  # YAML of something else may have another form
                raise
    others = []
    for entry in listed(root):
        with suppress(DataError):
            if entry.suffix.lower() in _ENDINGS and not entry.name.startswith(".") and _parsed(entry) is not None:
                others.append(entry)
    if len(others) > 1:
        raise DataError(f"{root}: it has several files like data.yaml; give one: {', '.join(map(str, others[:8]))}.")
    return others[0] if others else root if both else None


def is_config(file: Place) -> bool:
    """Whether a file is YOLO's `data.yaml`, whatever its name, or Darknet's `obj.data`."""
    return file.name == _DARKNET or (file.suffix.lower() in _ENDINGS and _parsed(file) is not None)


def read_split(config: Place, kept_out: KeptOut) -> YoloSplit:
    """The split that is read: val, else test, else train.

    Args:
        config: what `find_config` finds.
        kept_out: is told of images that are listed, and lead out.

    Raises:
        DataError: it cannot be read, or none of its folders is there.
    """
    if config.is_dir():
        return _of_folder(config)
    stated = _darknet(config) if config.name == _DARKNET else _parsed(config) or {}
    tried: list[str] = []
    for split in (name for name in SPLITS if stated.get(name)):
        written = stated[split]
        texts = written if isinstance(written, list) else [written]
        places = [place for text in texts if (place := _found(str(text), stated, config, tried)) is not None]
        images = [image for place in places for image in _images(place, stated, config, kept_out)]
        if images:
            others = [name for name in SPLITS if name != split and stated.get(name)]
            return YoloSplit(
                config.parent, images, _names(stated, config), _keypoints(stated), _not_read(config.name, split, others)
            )
    looked = f"it has no split whose images are there; looked for {', '.join(tried[:6]) or 'none'}."
    raise DataError(f"{config}: {' '.join([looked, *kept_out.notes()])}")


def _not_read(where: str, split: str, others: list[str]) -> list[str]:
    return [f"Of the splits of {where} '{split}' is read, and not {' or '.join(others)}."] if others else []


def _of_folder(root: Place) -> YoloSplit:
    """Of `images` and `labels` alone; of folders in `images` that are splits one is read."""
    top, notes = root / "images", list[str]()
    below = [entry for entry in listed(top) if not entry.name.startswith(".")]
    splits = {entry.name.lower(): entry for entry in below if entry.is_dir()}
    if splits and set(splits) <= FOLDERS and not any(is_image(entry.name) for entry in below):
        first = next((name for name in SPLITS if name in splits), min(splits))
        notes = _not_read("images", splits[first].name, [entry.name for name, entry in splits.items() if name != first])
        top = splits[first]
    return YoloSplit(root, sorted(walk_files(top), key=natural_key), _listed_names(root), 0, notes)


def _listed_names(root: Place) -> tuple[str, ...] | None:
    for place in (root, root / "labels"):
        if (place / _CLASSES).is_file():
            return _lines(place / _CLASSES) or None
    return None


def _lines(file: Place) -> tuple[str, ...]:
    return tuple(line.strip() for line in read_text(file).text.splitlines() if line.strip())


def _parsed(file: Place) -> Mapping[str, object] | None:
    """The file's content; None if it is not YOLO's.

    Raises:
        DataError: it is no YAML.
    """
    parsed = read_yaml(file, DataError)
    if isinstance(parsed, dict) and ("names" in parsed or "nc" in parsed) and any(name in parsed for name in SPLITS):
        return parsed
    return None


def _darknet(file: Place) -> Mapping[str, object]:
    """`obj.data`, as CVAT writes it in its format YOLO 1.1: a key and a value a line, paths below `data`."""
    pairs = [line.partition("=") for line in _lines(file)]
    stated: dict[str, object] = {key.strip(): value.strip() for key, _, value in pairs if value.strip()}
    name = str(stated.get("names", "obj.names")).rsplit("/", 1)[-1]
    return {**stated, "names": list(_lines(file.parent / name))}


def _names(stated: Mapping[str, object], config: Place) -> tuple[str, ...] | None:
    """A list of names, or names by number from 0 on without a gap; None where there is but their number.

    Raises:
        DataError: it is neither.
    """
    names = stated.get("names")
    if names is None:
        return None
    if isinstance(names, dict):
        # A writer of JSON makes texts of the numbers, which ultralytics takes for them.
        by_number = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
        if set(by_number) == set(range(len(names))):
            names = [by_number[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise DataError(f"{config}: 'names' is no list of names, and no table of them by number from 0 on.")
    return tuple(str(name).strip() for name in names)


def _keypoints(stated: Mapping[str, object]) -> int:
    """How many numbers of a line are a skeleton's: `kpt_shape` is how many points, and two or three numbers each."""
    shape = stated.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(size, int) for size in shape):
        return int(shape[0] * shape[1])
    return 0


def _found(written: str, stated: Mapping[str, object], config: Place, tried: list[str]) -> Place | None:
    """Where a split lies: in the folder of the file, below `path`, or without the `../` that exporters write."""
    top = config.parent
    plain = written.replace("\\", "/").removeprefix("./")
    while plain.startswith("../"):
        plain = plain.removeprefix("../")
    if (plain.startswith("/") or ".." in plain.split("/")) and not _is_within(plain, top):
        tried.append(written[:80])
        return None
    places = [base / plain for base in (top, *_bases(stated, top))]
    if config.name == _DARKNET and "/" in plain:  # its paths begin at the folder above, which is called data
        places.append(top / plain.partition("/")[2])
    for place in dict.fromkeys(places):
        tried.append(str(place))
        if exists(place):
            return place
    return None


def _is_within(written: str, top: Place) -> bool:
    """Whether a path from the root leads to what lies in the folder."""
    return isinstance(top, Path) and ".." not in written.split("/") and written.startswith(f"{absolute(top)}/")


def _bases(stated: Mapping[str, object], top: Place) -> Iterator[Place]:
    """What `path` may mean in the folder of the file: a folder below, or one that was called so elsewhere."""
    path = stated.get("path")
    parts = (
        [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] if isinstance(path, str) else []
    )
    if not parts or parts[-1] == "..":
        return
    if ".." not in parts and not str(path).startswith("/"):
        yield top / "/".join(parts)
    yield top / parts[-1]


def _images(place: Place, stated: Mapping[str, object], config: Place, kept_out: KeptOut) -> list[Place]:
    """The images of a folder, or those that a text file lists, one path a line.

    Paths of a list are relative to it, or to the folder of the data set, which some writers call `data`.
    """
    if place.is_dir():
        return sorted((path for path in walk_files(place) if is_image(path.name)), key=natural_key)
    top = config.parent
    finder = ImageFinder([place.parent, top, *_bases(stated, top)], roots=[top])
    found = []
    for line in read_text(place).text.splitlines():
        plain = line.strip().replace("\\", "/").removeprefix("./")
        if not plain:
            continue
        try:
            image = finder.find(plain, str(place))
            below = plain.partition("/")[2]
            if not exists(image) and below and exists(other := finder.find(below, str(place))):
                image = other
        except DataError:
            kept_out.add("image", "a path that leads out", plain[:80])
        else:
            found.append(image)
    return found
