"""What is compared: two models ready for photos, the images that both see, and which class is which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.aggregate import Aggregator, parse_aggregator
from onnx_gapmil.auditing.preparation import Request, classifier_of, prepare
from onnx_gapmil.data import open_data
from onnx_gapmil.data.photos import FoundPhoto, locate_photos
from onnx_gapmil.data.types import DataSet, RawSample
from onnx_gapmil.errors import DataError, LabelsError
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.remote import open_url
from onnx_gapmil.files.urls import is_url, said
from onnx_gapmil.files.wording import of_are
from onnx_gapmil.images.sources import IMAGE_SUFFIXES
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.validation.comparing.alignment import Alignment, ModelClasses, align

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from onnx_gapmil.auditing.preparation import PreparedData
    from onnx_gapmil.data import Sample
    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.files.remote import Place
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.validation.comparing.request import CompareRequest, Side


@dataclass(frozen=True)
class Shot:
    """An image that both models see.

    Attributes:
        image: where it lies.
        name: unique in the data set.
        old: with labels in the old model's classes; None without labels.
        new: with labels in the new model's.
        columns: (column, value) each: what the label file says of it.
    """

    image: Source
    name: str
    old: Sample | None = None
    new: Sample | None = None
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class OpenedSide:
    """One of the two, ready for photos.

    Attributes:
        classifier: the model.
        asked: what was asked for of it, as an audit would be.
        aggregator: what its answer is made of its cells by.
        preprocess: how photos become its inputs, where that comes from, and whether it was guessed.
        preprocess_source: where that comes from.
        preprocess_assumed: whether anything of it was guessed, or found on labelled images, rather than stated.
        labels_source: how the data's labels became its classes; "" without labels.
        preprocess_guessed: which parts of the preprocessing nothing states.
    """

    classifier: Classifier
    asked: Request
    aggregator: Aggregator
    preprocess: Preprocess
    preprocess_source: str
    preprocess_assumed: bool
    labels_source: str = ""
    preprocess_guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sides:
    """Both, and what they see.

    Attributes:
        old: what is there.
        new: what is to replace it.
        alignment: which class is which.
        shots: the images, in the data set's order.
        data: the data set.
        notes: sentences, to be printed: what was left out or assumed.
        same: whether both sides are one.
    """

    old: OpenedSide
    new: OpenedSide
    alignment: Alignment
    shots: Sequence[Shot]
    data: DataSet
    notes: tuple[str, ...] = ()
    same: bool = False

    @property
    def labelled(self) -> bool:
        """Whether the images have labels."""
        return bool(self.shots) and self.shots[0].old is not None

    @property
    def unplaced(self) -> str:
        """Why the grids have no common places; "" where they have."""
        said = []
        for which, side in (("old", self.old), ("new", self.new)):
            head = side.classifier.head
            if not (head.arranged and head.places.known):
                why = head.places.reason if not head.places.known else head.note
                said.append(f"where the cells of the {which} model look is not known{f': {why}' if why else ''}")
        return "; ".join(said)


def open_sides(request: CompareRequest) -> tuple[Classifier, Classifier]:
    """Both models.

    Raises:
        InputError: a model, its preprocessing, its names or the provider will not do.
        UnsupportedHeadError: one has no head that can be lifted.
    """
    return _opened("old", request.old, partial(classifier_of, _audit_request(request, request.old))), _opened(
        "new", request.new, partial(_new_classifier, request)
    )


def _opened(which: str, side: Side, make: Callable[[], Classifier]) -> Classifier:
    """One of the two models; a refusal says which."""
    try:
        return make()
    except UnsupportedHeadError as error:
        said = replace(error.refusal, message=f"of the {which} model, {side.model}: {error.refusal.message}")
        raise UnsupportedHeadError(said, error.refusals) from error


def _new_classifier(request: CompareRequest) -> Classifier:
    try:
        return classifier_of(_audit_request(request, request.new))
    except LabelsError as error:
        if request.new.names is None or request.new.names != request.old.names:
            raise
        raise LabelsError(f"{error} Names of the new model are given with --names-new.") from error


def prepare_sides(request: CompareRequest, old: Classifier, new: Classifier) -> Sides:
    """Open the data, put its labels into both models' classes, and find which class is which.

    Raises:
        InputError: data, labels, preprocessing or aggregator will not do, or it cannot be told which class is which.
    """
    aggregators = parse_aggregator(request.old.aggregator), parse_aggregator(request.new.aggregator)
    data, notes = _data(request)
    if data is None:
        return _without_labels(request, old, new, aggregators, notes)
    prepared = prepare(old, _audit_request(request, request.old)), _prepare_new(request, new)
    alignment = align(
        ModelClasses(old.classes, old.class_names, prepared[0].class_map, _given(request.old)),
        ModelClasses(new.classes, new.class_names, prepared[1].class_map, _given(request.new)),
    )
    shots = PackedList(
        Shot(sample.image, sample.name, sample, theirs, sample.columns)
        for sample, theirs in _in_both(data, prepared[0].samples, prepared[1].samples)
        if sample.labels  # an image without a label says nothing of who is right
    )
    if not shots:
        raise DataError(
            f"{request.data}: no image has a label that both models know: the class maps leave out "
            f"{len(prepared[0].samples):,} and {len(prepared[1].samples):,} different ones."
        )
    left = sum(bool(sample.labels) for sample in data.samples) - len(shots)
    said = [f"{of_are(left, len(data.samples), 'image')} left out by a class map."] if left else []
    sides = [
        OpenedSide(
            classifier,
            _audit_request(request, side),
            aggregator,
            each.preprocess.preprocess,
            each.preprocess.source,
            each.preprocess.assumed,
            each.class_map.source,
            each.preprocess.guessed,
        )
        for classifier, side, aggregator, each in zip(
            (old, new), (request.old, request.new), aggregators, prepared, strict=True
        )
    ]
    return Sides(
        sides[0], sides[1], alignment, shots, data, (*data.notes, *said, *_decoding(request)), same=request.same
    )


def _in_both(data: DataSet, samples: Iterable[Sample], others: Iterable[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """The images that both sides have, each of which may leave some of the data set out, in its order."""
    sides = [iter(samples), iter(others)]
    ahead = [next(side, None) for side in sides]
    for raw in data.samples:
        here = [each if each is not None and each.name == raw.name else None for each in ahead]
        if here[0] is not None and here[1] is not None:
            yield here[0], here[1]
        ahead = [each if met is None else next(side, None) for side, met, each in zip(sides, here, ahead, strict=True)]


def _prepare_new(request: CompareRequest, new: Classifier) -> PreparedData:
    try:
        return prepare(new, _audit_request(request, request.new))
    except DataError as error:
        raise DataError(f"For the new model: {error} Its own map is given with --class-map-new.") from error


def _without_labels(
    request: CompareRequest,
    old: Classifier,
    new: Classifier,
    aggregators: tuple[Aggregator, Aggregator],
    notes: tuple[str, ...],
) -> Sides:
    if "auto" in (request.old.preprocess, request.new.preprocess):
        raise DataError("--preprocess auto is found out from labelled images, and these have no labels.")
    found = locate_photos([str(request.data)])
    notes = (*notes, *found.notes)
    root, shots = _shots(request.data, found.photos)
    source = f"Images in {said(str(request.data))}: {len(shots):,}, without labels."
    samples = tuple(RawSample(shot.image, shot.name, ()) for shot in shots)
    data = DataSet(samples, "images", root, source, notes=notes)
    alignment = align(
        ModelClasses(old.classes, old.class_names),
        ModelClasses(new.classes, new.class_names),
        map_new=request.new.class_map,
    )
    sides = [
        OpenedSide(
            classifier,
            _audit_request(request, side),
            aggregator,
            classifier.preprocess.preprocess,
            classifier.preprocess.source,
            classifier.preprocess.assumed,
            preprocess_guessed=classifier.preprocess.guessed,
        )
        for classifier, side, aggregator in zip((old, new), (request.old, request.new), aggregators, strict=True)
    ]
    return Sides(sides[0], sides[1], alignment, shots, data, (*notes, *_decoding(request)), same=request.same)


def _shots(data: Path | str, found: Sequence[FoundPhoto]) -> tuple[Place, tuple[Shot, ...]]:
    """The images without labels, and the folder that their names are relative to."""
    first = found[0].path
    if isinstance(first, Path):
        root = Path(data) if Path(data).is_dir() else first.parent
        paths = [image.path for image in found if isinstance(image.path, Path)]
        return root.absolute(), tuple(Shot(path.absolute(), _name(path, root)) for path in paths)
    place = open_url(data) if isinstance(data, str) and is_url(data) else Path(data)
    names = [image.inside.as_posix().encode("utf-8", "backslashreplace").decode() for image in found]
    shots = tuple(Shot(image.path, name) for image, name in zip(found, names, strict=True))
    return place if place.is_dir() else place.parent, shots


def _data(request: CompareRequest) -> tuple[DataSet | None, tuple[str, ...]]:
    """The labelled data set; None for images without labels, with what is to be said of that."""
    if request.unlabelled:
        return None, ()
    try:
        return open_data(request.data, labels=request.labels), ()
    except DataError as error:
        if request.labels is None and _only_photos(request.data):
            return None, ("No labels were found: which answers are right is not known.",)
        raise DataError(f"{error} To compare without labels: --unlabelled.") from error


def _only_photos(data: Path | str) -> bool:
    """Whether it is a photo, or a folder that holds photos and nothing that could be labels."""
    if not isinstance(data, Path):
        return False
    if data.is_file():
        return data.suffix.lower() in IMAGE_SUFFIXES
    if not data.is_dir():
        return False
    files = [entry for entry in data.iterdir() if not entry.name.startswith(".")]
    return bool(files) and all(entry.is_file() and entry.suffix.lower() in IMAGE_SUFFIXES for entry in files)


def _name(path: Path, root: Path) -> str:
    """The key of an image: relative to the root with ``/``, in letters that can be printed."""
    try:
        text = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:  # a link that leads out of the folder
        text = path.as_posix()
    return text.encode("utf-8", "backslashreplace").decode()


def _decoding(request: CompareRequest) -> tuple[str, ...]:
    """What is to be said of a decoding that is not exact."""
    return ("Large JPEGs were decoded smaller than they are (--fast-decode), for both models.",) * request.fast_decode


def _given(side: Side) -> bool:
    return side.class_map is not None or side.offset is not None


def _audit_request(request: CompareRequest, side: Side) -> Request:
    """One side as an audit would be asked for it."""
    return Request(
        model=side.model,
        data=request.data,
        labels=request.labels,
        names=side.names,
        class_map=side.class_map,
        offset=side.offset,
        preprocess=side.preprocess,
        provider=request.provider,
        head=side.head,
        batch=request.batch,
        no_guess=request.no_guess,
        fast_decode=request.fast_decode,
        class_token=side.class_token,
        thresholds=side.thresholds,
        size=side.size,
        stitch=side.stitch,
    )
