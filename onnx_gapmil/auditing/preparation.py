"""What is audited: a model ready for photos, and a data set in the model's own classes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.auditing.label_offsets import try_offsets
from onnx_gapmil.data import ClassMap, apply_class_map, candidate_offsets, open_data, resolve_classes
from onnx_gapmil.errors import DataError, ImageError
from onnx_gapmil.files.packed import Chosen
from onnx_gapmil.images.decode import DEEP_SUFFIXES, read_samples
from onnx_gapmil.images.levels import depth_note
from onnx_gapmil.images.resolve import ResolvedPreprocess
from onnx_gapmil.lift.tokens.modes import ClassTokenWish
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.sizing.record import Size  # a request is read back by its types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.auditing.journal import Decisions
    from onnx_gapmil.data import DataSet, Sample
    from onnx_gapmil.fitting.preprocessing import Ranking

#: `--preprocess` word that asks for the preprocessing to be found out from labelled images.
AUTO = "auto"
#: Images whose depth is looked at before an audit.
_LOOKED_AT = 16


@dataclass(frozen=True)
class Request:
    """What a user asked for; an unfinished audit goes on only where all of it is the same.

    Attributes:
        model: path of the ``.onnx`` file.
        data: folder, label file, shards or URL; see `open_data`.
        labels: label file for the images of the folder `data`; of Parquet, the column of labels.
        names: file of the model's class names; looked for beside the model if None.
        class_map: file that translates labels to classes.
        offset: class = label + offset, for labels that are numbers.
        preprocess: preset, JSON file, or ``auto``.
        provider: where to run.
        head: the output to audit, of a model with several; the first lifted one if None.
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file.
        batch: images at a time; see `onnx_gapmil.running.pipeline.batch_size`.
        no_guess: refuse a preprocessing that would be a guess; what ``auto`` finds on labelled images is none.
        size: (height, width) of the input in pixels, where it is not to be the model's own.
        stitch: 2 for grids twice as fine, of shifted runs.
        by_size: keep what sizes are compared by (`onnx_gapmil.metrics.temperature`).
        class_token: how far heads that read a class token are lifted; None refuses them.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.
    """

    model: Path
    data: Path | str
    labels: Path | str | None = None
    names: Path | None = None
    class_map: Path | None = None
    offset: int | None = None
    preprocess: str | None = None
    provider: str = "auto"
    head: str | None = None
    thresholds: str | None = None
    batch: int | None = None
    no_guess: bool = False
    class_token: ClassTokenWish | None = None
    size: Size | None = None
    stitch: int = 1
    by_size: bool = False
    fast_decode: bool = False


def classifier_of(request: Request) -> Classifier:
    """The model that is audited, with the preprocessing that was asked for or is found beside or in it.

    Raises:
        InputError: the model, its preprocessing, its names or the provider will not do.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    found = Classifier(
        request.model,
        preprocess=None if request.preprocess == AUTO else request.preprocess,
        names=request.names,
        head=request.head,
        thresholds=request.thresholds,
        provider=request.provider,
        emit=Emit() if request.stitch == 1 else Emit(features=False),
        by_image=True,
        no_guess=request.no_guess and request.preprocess != AUTO,
        class_token=request.class_token,
        size=request.size,
        stitch=request.stitch,
    )
    found.require_classes()
    return found


@dataclass(frozen=True)
class PreparedData:
    """A data set prepared for a model: what is fed, and what the right answers are.

    Attributes:
        data: the data set as it was read.
        samples: its images in the model's classes.
        preprocess: how photos become inputs, and where that comes from.
        class_map: how labels became classes.
        ranking: what the detective found, where it was asked.
    """

    data: DataSet
    samples: Sequence[Sample]
    preprocess: ResolvedPreprocess
    class_map: ClassMap
    ranking: Ranking | None = None


def prepare(classifier: Classifier, request: Request, decided: Decisions | None = None) -> PreparedData:
    """Open the data set, and decide the preprocessing and the classes.

    Args:
        classifier: the model.
        request: what was asked for.
        decided: what an unfinished run of the same request had decided.

    Raises:
        InputError: the data set, the labels or the preprocessing will not do.
    """
    data = open_data(request.data, labels=request.labels)
    offset = request.offset if decided is None else decided.offset
    class_map = _class_map(data, classifier, offset, request.class_map)
    if decided is not None:
        chosen = ResolvedPreprocess(decided.preprocess, decided.source, decided.assumed, decided.guessed)
        class_map = ClassMap(class_map.offset, class_map.table, decided.class_map_source)
        return PreparedData(data, _samples(data, class_map, classifier), chosen, class_map)
    possible = _possible_offsets(data, classifier, class_map, offset)
    if request.preprocess == AUTO:
        return _investigate(classifier, data, class_map, possible)
    chosen = _with_depth(classifier.preprocess, data)
    if len(possible) > 1:
        samples = apply_class_map(data, class_map)
        trial = try_offsets(classifier.session, chosen.preprocess, samples, class_map, possible, head=classifier.place)
        class_map = _class_map(data, classifier, trial.offset)
        class_map = ClassMap(class_map.offset, class_map.table, trial.sentence())
    return PreparedData(data, _samples(data, class_map, classifier), chosen, class_map)


def _samples(data: DataSet, class_map: ClassMap, classifier: Classifier) -> Sequence[Sample]:
    """The images in the model's classes; of a multi-label head those without a label, too."""
    return apply_class_map(data, class_map, unlabelled=classifier.independent)


def _with_depth(chosen: ResolvedPreprocess, data: DataSet) -> ResolvedPreprocess:
    """With what is to be said where images of 16 bits use 12 of them at the most; a few images tell."""
    found = []
    for sample in data.samples[:: max(1, len(data.samples) // _LOOKED_AT)][:_LOOKED_AT]:
        if sample.image.suffix.lower() not in {*DEEP_SUFFIXES, ""}:  # a row of a table has no ending
            continue
        with suppress(ImageError):  # the audit names what cannot be read
            samples = read_samples(sample.image)
            if samples.dtype == np.uint16:
                found.append(samples)
    if not found or not all(depth_note(samples, chosen.preprocess.full_scale) for samples in found):
        return chosen
    note = depth_note(np.concatenate([samples.ravel() for samples in found]), chosen.preprocess.full_scale)
    return replace(
        chosen, source=f"{chosen.source} In the {len(found)} images of more than 8 bits that were looked at: {note}"
    )


def _class_map(data: DataSet, classifier: Classifier, offset: int | None, map_file: Path | None = None) -> ClassMap:
    """How the labels become the model's classes."""
    names = classifier.class_names
    try:
        return resolve_classes(
            data, classes=classifier.classes, names=names.names, wnids=names.wnids, map_file=map_file, offset=offset
        )
    except DataError as error:
        if names.names is not None or not (named := classifier.named_heads):
            raise
        said = " or ".join(f"--head {output}" for output in named)
        raise DataError(f"{error} The class names are another output's: {said} audits that one.") from error


def _possible_offsets(data: DataSet, classifier: Classifier, class_map: ClassMap, given: int | None) -> tuple[int, ...]:
    """Offsets that only the model's answers can decide between; empty where all is known."""
    if given is not None or class_map.offset is None:
        return ()
    return candidate_offsets(data, classifier.classes, classifier.class_names.names)


def _investigate(classifier: Classifier, data: DataSet, class_map: ClassMap, possible: tuple[int, ...]) -> PreparedData:
    """Let the detective rank preprocessings, and offsets with them."""
    from onnx_gapmil.fitting.preprocessing import LabelledImage, rank_presets

    known = class_map.offset or 0
    labelled: Chosen[LabelledImage] = Chosen(
        apply_class_map(data, class_map),
        None,
        lambda sample: (sample.image, frozenset(label - known for label in sample.labels)),
    )
    ranking = rank_presets(
        classifier.session,
        labelled,
        base=classifier.preprocess.preprocess,
        offsets=possible or (known,),
        head=classifier.place,
        independent=classifier.independent,
    )
    if len(possible) > 1:
        class_map = _class_map(data, classifier, ranking.offset)
    best = replace(ranking.best, full_scale=classifier.preprocess.preprocess.full_scale)
    # Where no candidate is better than guessing nothing was found: the default that is kept is a guess.
    guessed = () if ranking.conclusive else ("color", "values", "resize")
    found = _with_depth(ResolvedPreprocess(best, ranking.sentence, assumed=True, guessed=guessed), data)
    return PreparedData(data, _samples(data, class_map, classifier), found, class_map, ranking=ranking)
