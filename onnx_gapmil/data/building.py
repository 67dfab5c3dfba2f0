"""The last step of every reader: samples are checked together and become a `DataSet`."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from onnx_gapmil.data.checks import are_fractions, box_problem
from onnx_gapmil.data.files import exists
from onnx_gapmil.data.sizes import upright_size
from onnx_gapmil.data.types import DataSet, Label, RawBox, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.remote import Place
from onnx_gapmil.files.wording import count, of_are

_DECIMAL = re.compile(r"[0-9]{1,9}(\.0+)?")

Placed: TypeAlias = Sequence[tuple[RawSample, str]]
"""Samples, each with its place for messages."""

_BOXES_LOOKED_AT = 1000
"""Boxes that are looked at, at most, before they are said to be fractions."""

_LOOKED_AT = 200
"""Images with boxes whose headers are read, at most, before all boxes are said to lie outside."""


def build(
    placed: Placed,
    *,
    kind: str,
    root: Place,
    what: str,
    class_names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    numbered: bool = False,
) -> DataSet:
    """Make a data set of samples and the places they were read from.

    Labels that are all decimal texts become numbers. Images that are not there are noted; they fail later, by
    name.

    Args:
        placed: samples, each with its place for messages.
        kind: see `DataSet`.
        root: the folder that names are relative to.
        what: what was read, for the sentence: `"Folders of classes in photos"`.
        class_names: the data set's own names.
        notes: what the reader has to say.
        numbered: see `DataSet`.

    Raises:
        DataError: there is no sample; an image is listed twice; none of the images is there; all boxes are
            fractions, or lie outside their images.
    """
    if not placed:
        raise DataError(f"{what}: no labelled image was found.")
    _refuse_doubles(placed)
    gone = (sample for sample, _ in placed if not exists(sample.image))
    missing = list(itertools.islice(gone, 3))
    lacking = len(missing) + sum(1 for _ in gone)
    if lacking == len(placed):
        raise DataError(
            f"{what}: none of the {count(len(placed), 'image')} named there exists; the first was expected at "
            f"{missing[0].image}. Give the images' folder as DATA and the label file with --labels."
        )
    if not any(sample.labels for sample, _ in placed):
        raise DataError(f"{what}: no labelled image was found.")
    said = list(notes)
    if missing:
        names = ", ".join(sample.name for sample in missing)
        said.append(f"{of_are(lacking, len(placed), 'image')} not there and will fail: {names}.")
    samples = PackedList(_unique_names(_with_numbers(placed)))
    said += _check_boxes(samples, what)
    bare = sum(not sample.labels for sample in samples)
    if bare:
        said.append(
            f"{count(bare, 'image has', 'images have')} no label: negatives for a multi-label head, left out for "
            "another."
        )
    own = _names(samples, class_names)
    return DataSet(samples, kind, root, _sentence(what, samples), own, tuple(said), numbered)


def _refuse_doubles(placed: Placed) -> None:
    doubled = _doubled(sample.image for sample, _ in placed)
    seen: dict[Source, str] = {}
    for sample, where in placed if doubled else ():
        if hash(sample.image) not in doubled:
            continue
        if sample.image in seen:
            raise DataError(
                f"{where}: {sample.name} was listed before ({seen[sample.image]}); list each image once, with all its "
                f"labels and boxes."
            )
        seen[sample.image] = where


def _doubled(keys: Iterable[Hashable]) -> frozenset[int]:
    """Hashes that come more than once: of a million keys eight bytes each are held, and those alone looked at again."""
    hashes, times = np.unique(np.fromiter(map(hash, keys), dtype=np.int64), return_counts=True)
    return frozenset(hashes[times > 1].tolist())


def _unique_names(samples: Iterable[RawSample]) -> Iterator[RawSample]:
    """Names of two roots, or of bytes read as Latin-1, may coincide: the later ones get their whole path."""
    seen: set[str] = set()
    for sample in samples:
        name = sample.name
        if name in seen:
            name = str(sample.image).replace(os.sep, "/").encode("utf-8", "backslashreplace").decode()
        seen.add(name)
        yield sample if name == sample.name else replace(sample, name=name)


def _with_numbers(placed: Placed) -> Iterator[RawSample]:
    """If every label that is text is a decimal number, all are numbers."""
    texts = {label for label in all_labels(sample for sample, _ in placed) if isinstance(label, str)}
    if not texts or not all(_DECIMAL.fullmatch(text) for text in texts):
        yield from (sample for sample, _ in placed)
        return
    for sample, _ in placed:
        # `replace` asks the class for its fields each time: of a million rows, seconds.
        yield RawSample(
            sample.image,
            sample.name,
            _numbers(sample.labels),
            tuple(RawBox(box.box, _numbers(box.label)) for box in sample.boxes),
            sample.mask,
            sample.columns,
            sample.relative,
        )


@lru_cache(maxsize=65536)
def _numbers(labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """One object for all samples of the same labels."""
    return tuple(dict.fromkeys(int(float(label)) for label in labels))


def all_labels(samples: Iterable[RawSample]) -> dict[Label, None]:
    """The different labels of images and boxes, in order of appearance."""
    found: dict[Label, None] = {}
    for sample in samples:
        found.update(dict.fromkeys(sample.labels))
        for box in sample.boxes:
            found.update(dict.fromkeys(box.label))
    return found


def _names(samples: Sequence[RawSample], class_names: Sequence[str] | None) -> tuple[str, ...] | None:
    if class_names is not None:
        return tuple(class_names)
    texts = [label for label in all_labels(samples) if isinstance(label, str)]
    return tuple(sorted(texts)) or None


def _sentence(what: str, samples: Sequence[RawSample]) -> str:
    boxes = sum(len(sample.boxes) for sample in samples)
    masks = sum(sample.mask is not None for sample in samples)
    parts = [count(len(samples), "image"), count(len(all_labels(samples)), "label")]
    parts += [count(boxes, "box")] if boxes else []
    parts += [count(masks, "mask")] if masks else []
    return f"{what}: {', '.join(parts)}."


def _check_boxes(samples: Sequence[RawSample], what: str) -> list[str]:
    """Boxes of another kind or size are a mistake of the whole set; single bad ones fail with their image."""
    absolute = (box.box for sample in samples for box in sample.boxes if not sample.relative)
    first = list(itertools.islice(absolute, _BOXES_LOOKED_AT))
    if not first:
        return []
    if are_fractions(first):
        whole = next(absolute, None) is None and all(max(box) <= 1 for box in first)
        some = "all boxes" if whole else f"most of the first {count(len(first), 'box')}"
        raise DataError(f"{what}: {some} lie within 0 to 1: they look like fractions; pixels are needed.")
    problem, looked, bad, all_bad = "", 0, 0, True
    for sample in samples:
        size = upright_size(sample.image) if sample.boxes and not sample.relative and looked < _LOOKED_AT else None
        if size is None:
            continue
        looked += 1
        problems = [f"{sample.name}: {said}" for box in sample.boxes if (said := box_problem(box.box, size))]
        bad += bool(problems)
        all_bad = all_bad and len(problems) == len(sample.boxes)
        problem = problem or next(iter(problems), "")
    if not looked or bad * 2 <= looked:
        return []
    found = f"{bad:,} of the first {looked:,} images with boxes have one that does not lie inside ({problem})"
    hint = "The boxes were likely made for images of another size, or are not [x0, y0, x1, y1]."
    if all_bad:
        raise DataError(f"{what}: {found}, and no box does. {hint}")
    return [f"{found}; they will fail. {hint}"]
