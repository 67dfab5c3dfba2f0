"""The images that changed most: run once more through both models, made small, with both grids and their change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.two_classes import with_two_classes
from onnx_gapmil.auditing.gallery import Fractions, fractions, telling_classes, thumbnail, told_model
from onnx_gapmil.data import check_sample
from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.blob import Blob
from onnx_gapmil.files.serial import FLAT
from onnx_gapmil.images.resolve import ResolvedPreprocess
from onnx_gapmil.prediction.page.touched import TouchedAnswer, placeless_of, touched_answer
from onnx_gapmil.show.html.maps import EncodedMaps, encode_maps
from onnx_gapmil.validation.comparing.columns import PairColumns, broken, fixed
from onnx_gapmil.validation.comparing.measuring import lattice_of
from onnx_gapmil.validation.comparing.records import PairRecord
from onnx_gapmil.validation.comparing.running import both_answers, both_seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onnx_gapmil.images.geometry import Geometry
    from onnx_gapmil.prediction.page.content import PageModel
    from onnx_gapmil.running.pipeline.stream import Answered
    from onnx_gapmil.validation.comparing.measuring import Seen
    from onnx_gapmil.validation.comparing.records import Record
    from onnx_gapmil.validation.comparing.running import Both
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Shot, Sides

#: Classes of one image and model whose maps are kept, at the most, where no number is asked for.
_CLASSES = 12


@dataclass(frozen=True, kw_only=True)
class SideView:
    """What one model says of an image.

    Attributes:
        prediction: its first classes with their probabilities, best first, in joint numbers.
        right: whether the first is a true one; None without labels.
        window: what its cells cover, in fractions of the photo.
        maps: of its telling classes, in joint numbers.
        answer: what else is said of it when it is touched; logits and winners are in the model's own numbers.
    """

    prediction: tuple[tuple[int, float], ...]
    right: bool | None
    window: Fractions
    maps: Annotated[EncodedMaps, FLAT]
    answer: Annotated[TouchedAnswer, FLAT]


@dataclass(frozen=True, kw_only=True)
class Change:
    """How the evidence changed on the common places: new less old.

    Attributes:
        window: what the common cells cover, in fractions of the photo.
        maps: by class, in joint numbers; ``low`` is minus ``high``.
    """

    window: Fractions
    maps: Annotated[EncodedMaps, FLAT]


@dataclass(frozen=True, kw_only=True)
class PairView:
    """One image of the gallery.

    Attributes:
        name: in the data set.
        labels: the true classes.
        kind: ``fixed``, ``broken``, ``changed`` or ``same``.
        thumb: the whole photo, small, as a ``data:`` address.
        size: (width, height) of that in pixels.
        boxes: of objects, in fractions of the photo.
        box_classes: what each shows.
        old: the old model's answer.
        new: the new model's.
        change: of the evidence; None where the common places are not known.
        moved: share of the evidence for the answer that lies in other cells.
        slices: what is known of it, by which slices are made.
        full: (width, height) of the photo as it is stored, upright.
        within: whether it lies in something else, a shard or behind a URL, and is no file of that name.
        note: what is to be said of its samples.
    """

    name: str
    labels: tuple[int, ...]
    kind: str
    thumb: str
    size: tuple[int, int]
    boxes: tuple[Fractions, ...]
    box_classes: tuple[tuple[int, ...], ...]
    old: SideView
    new: SideView
    change: Change | None
    moved: float | None
    slices: tuple[tuple[str, str], ...]
    full: tuple[int, int]
    within: bool
    note: str


@dataclass(frozen=True)
class Gallery:
    """The images that a report shows.

    Attributes:
        total: images that were compared.
        images: those that changed most, first.
        names: of the classes that occur, by joint number.
        activations: what makes probabilities of a cell's logits, of the old and of the new model.
        models: what is said of the old and of the new model where an image is touched.
        joint: of each class of the new model its joint number; None where that is its own.
        centred: whether the evidence that changes is a logit less the mean of its cell over classes.
    """

    total: int
    images: tuple[PairView, ...]
    names: dict[int, str]
    activations: tuple[str, str]
    models: tuple[PageModel, PageModel]
    joint: tuple[int, ...] | None
    centred: bool


def kind_of(record: PairRecord) -> str:
    """What became of an image."""
    if record.broken:
        return "broken"
    if record.fixed:
        return "fixed"
    return "same" if record.agree else "changed"


def choose(records: Iterable[Record] | PairColumns, most: int) -> list[int]:
    """The images that changed most: broken, changed and fixed ones in turn, then the same answers.

    Within each, those whose probabilities moved furthest come first; of the same answers those whose evidence did.

    Args:
        records: of all images, or their columns.
        most: how many at the most.

    Returns:
        Places in ``records``.
    """
    found = PairColumns.of(records)
    numbers, places = found.numbers, np.flatnonzero(found.compared)
    moved, agree = numbers["grids.moved"], numbers["agree"] == 1
    weight = np.where(agree & ~np.isnan(moved), moved, numbers["probabilities.max"])
    breaks, fixes = broken(numbers), fixed(numbers)
    turned = ~(breaks | fixes)

    def first(kind: npt.NDArray[np.bool_]) -> list[int]:
        members = np.flatnonzero(kind)
        chosen: list[int] = places[members[np.argsort(-weight[members], kind="stable")]].tolist()
        return chosen

    turns, same = [first(breaks), first(fixes), first(turned & ~agree)], first(turned & agree)
    longest = max(map(len, turns))
    flipped = [members[turn] for turn in range(longest) for members in turns if turn < len(members)]
    kept = min(len(same), max(most - len(flipped), most // 5))
    return [*flipped[: max(0, most - kept)], *same[:kept]]


def build_gallery(
    sides: Sides,
    records: Sequence[Record],
    columns: PairColumns,
    most: int,
    batch: int | None,
    classes: int | None = None,
) -> Gallery:
    """Choose at most so many images, run them once more, and make them small.

    Args:
        sides: what was compared.
        records: of all images, in order.
        columns: of these.
        most: images.
        batch: images at a time, as it was asked for.
        classes: of each image and model whose maps are kept; see `telling_classes`.
    """
    chosen = choose(columns, most)
    shots = [sides.shots[place] for place in chosen]
    images: list[PairView] = []
    for shot, place, answers in zip(shots, chosen, both_answers(sides, shots, batch, keep_photos=True), strict=True):
        record, first = records[place], answers[0]
        if isinstance(first, ImageError):
            raise first
        if first.pixels is None or not isinstance(record, PairRecord):
            raise TypeError("a gallery needs pixels of images that were compared")
        images.append(_view(sides, shot, record, answers, classes))
    joint = tuple(int(index) for index in sides.alignment.of_new())
    return Gallery(
        total=len(columns),
        images=tuple(images),
        names=_names(sides, images),
        activations=(_activation(sides.old.classifier.independent), _activation(sides.new.classifier.independent)),
        models=(_told_model(sides.old), _told_model(sides.new)),
        joint=None if joint == tuple(range(len(joint))) else joint,
        centred=_centred(sides),
    )


def _activation(independent: bool) -> str:
    return "sigmoid" if independent else "softmax"


def _names(sides: Sides, images: Sequence[PairView]) -> dict[int, str]:
    """By joint number: the old model's name; of a class that it lacks, the new model's."""
    used = {index for view in images for index in (*view.labels, *(one for each in view.box_classes for one in each))}
    for view in images:
        for side in (view.old, view.new):
            used |= {index for index, _ in side.prediction} | set(side.maps.classes)
    back = {int(joint): index for index, joint in enumerate(sides.alignment.of_new())}
    old, new = sides.old.classifier.class_names, sides.new.classifier.class_names
    count = sides.alignment.old_count
    return {index: old.name(index) if index < count else new.name(back[index]) for index in sorted(used)}


def _told_model(side: OpenedSide) -> PageModel:
    """What the report says of one of the models where an image is touched."""
    used = ResolvedPreprocess(side.preprocess, side.preprocess_source, side.preprocess_assumed, side.preprocess_guessed)
    return told_model(side.classifier, side.asked, used)


def _centred(sides: Sides) -> bool:
    """Whether classes are read against each other in both models, so that only a logit above its cell's mean speaks."""
    return not (sides.old.classifier.independent or sides.new.classifier.independent)


def _view(sides: Sides, shot: Shot, record: PairRecord, answers: Both, most: int | None) -> PairView:
    first_answer, second_answer = answers
    if isinstance(first_answer, ImageError) or isinstance(second_answer, ImageError) or first_answer.pixels is None:
        raise TypeError("a gallery needs pixels of images that were compared")
    old, new = both_seen(sides, shot, answers)
    height, width = first_answer.pixels.shape[:2]
    thumb, size = thumbnail(first_answer.pixels)
    joint = sides.alignment.of_new()
    boxes = check_sample(shot.old, (height, width)).boxes if shot.old is not None else ()
    placed = not sides.unplaced
    first, second = _classes(sides, record, old, new, most)
    known = _Told(old, first_answer, sides.old, first), _Told(new, second_answer, sides.new, second)
    return PairView(
        name=shot.name,
        labels=record.old.labels,
        kind=kind_of(record),
        thumb=thumb,
        size=size,
        boxes=tuple(fractions(box.box, width, height) for box in boxes),
        box_classes=tuple(box.classes for box in boxes),
        old=_side(known[0], record.old.top, record.old.right, None, placed),
        new=_side(known[1], record.new.top, record.new.right, joint, placed),
        change=_change(sides, old, new, first, second),
        moved=record.grids.moved if record.grids is not None else None,
        slices=record.columns,
        full=(width, height),
        within=isinstance(shot.image, Blob),
        note=first_answer.note,
    )


@dataclass(frozen=True)
class _Told:
    """What a model says of an image, and the classes whose maps are kept, in its own numbers."""

    seen: Seen
    answered: Answered
    side: OpenedSide
    classes: list[int]

    @property
    def answer(self) -> TouchedAnswer:
        """What is kept beside the maps."""
        model, found = self.side.classifier, self.answered.grids[self.side.classifier.place]
        placeless = placeless_of(found, 0, independent=model.head.activation == "sigmoid")
        return touched_answer(self.seen.grid, with_two_classes(found.logits[0]), model.reading, self.classes, placeless)


def _classes(sides: Sides, record: PairRecord, old: Seen, new: Seen, most: int | None) -> tuple[list[int], list[int]]:
    """The telling classes of both, in their own numbers: each has the partners of the other's."""
    room = _CLASSES if most is None else most
    mine = telling_classes(old.grid, [index for index, _ in record.old.top], record.old.labels, most)[:room]
    theirs = telling_classes(new.grid, [index for index, _ in record.new.top], record.new.labels, most)[:room]
    partner = dict(sides.alignment.pairs)
    back = {two: one for one, two in sides.alignment.pairs}
    first = list(dict.fromkeys([*mine, *(back[index] for index in theirs if index in back)]))
    second = list(dict.fromkeys([*(partner[index] for index in mine if index in partner), *theirs]))
    return first, second


def _side(
    told: _Told,
    top: Sequence[tuple[int, float]],
    right: bool | None,
    joint: npt.NDArray[np.intp] | None,
    placed: bool,
) -> SideView:
    seen, classes = told.seen, told.classes
    maps = encode_maps(seen.grid, classes)
    number = (lambda index: int(joint[index])) if joint is not None else int
    maps = replace(maps, classes=tuple(number(index) for index in classes), grid=maps.grid if placed else None)
    return SideView(
        prediction=tuple((number(index), share) for index, share in top),
        right=right,
        window=_window(seen.geometry),
        maps=maps,
        answer=told.answer,
    )


def _change(sides: Sides, old: Seen, new: Seen, first: list[int], second: list[int]) -> Change | None:
    lattice = lattice_of(sides, old, new)
    if lattice is None:
        return None
    partner = dict(sides.alignment.pairs)
    pairs = [(index, partner[index]) for index in first if index in partner and partner[index] in second]
    before, after = lattice.of_old(old.grid), lattice.of_new(new.grid)
    if _centred(sides):
        before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    if not pairs:
        return None
    gaps = np.array([after[two] - before[one] for one, two in pairs])
    maps = encode_maps(gaps, range(len(gaps)), signed=True)
    return Change(window=_window(lattice.geometry), maps=replace(maps, classes=tuple(one for one, _ in pairs)))


def _window(geometry: Geometry) -> Fractions:
    """What cells cover, in fractions of the photo."""
    height, width = geometry.image_size
    x0, y0 = geometry.to_image(0.0, 0.0)
    x1, y1 = geometry.to_image(float(geometry.input_size[1]), float(geometry.input_size[0]))
    return (x0 / width, y0 / height, x1 / width, y1 / height)
