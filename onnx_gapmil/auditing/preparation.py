"""What is audited: a model ready for photos, and a data set in the model's own classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from onnx_gapmil.auditing.label_offsets import try_offsets
from onnx_gapmil.data import ClassMap, apply_class_map, candidate_offsets, open_data, resolve_classes
from onnx_gapmil.data.class_names import class_names
from onnx_gapmil.errors import InputError
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess
from onnx_gapmil.lift.lifted import UNARRANGED
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.running.grid_session import GridSession

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.auditing.journal import Decisions
    from onnx_gapmil.data import DataSet, Sample
    from onnx_gapmil.fitting.preprocessing import Ranking
    from onnx_gapmil.rewriting.record import HeadRecord

#: `--preprocess` word that asks for the preprocessing to be found out from labelled images.
AUTO = "auto"


@dataclass(frozen=True)
class Request:
    """What a user asked for; an unfinished audit goes on only where all of it is the same.

    Attributes:
        model: path of the ``.onnx`` file.
        data: folder or label file; see `open_data`.
        labels: label file for the images of the folder `data`.
        names: file of the model's class names; looked for beside the model if None.
        class_map: file that translates labels to classes.
        offset: class = label + offset, for labels that are numbers.
        preprocess: preset, JSON file, or ``auto``.
        provider: where to run.
        head: the output to audit, of a model with several; the first lifted one if None.
        batch: images at a time; see `onnx_gapmil.running.pipeline.batch_size`.
    """

    model: Path
    data: Path
    labels: Path | None = None
    names: Path | None = None
    class_map: Path | None = None
    offset: int | None = None
    preprocess: str | None = None
    provider: str = "auto"
    head: str | None = None
    batch: int | None = None


class Subject:
    """A model with its session, one of its heads, and its class names.

    Args:
        request: see `Request`.

    Raises:
        InputError: the model, its names or the provider will not do.
        UnsupportedHeadError: no output has a head that can be lifted.
    """

    def __init__(self, request: Request) -> None:
        self.path = request.model
        self.rewrite: Rewrite = rewrite_model(request.model)
        self.session = GridSession(
            request.model if self.rewrite.unchanged else self.rewrite,
            provider=request.provider,
            by_image=True,
        )
        self.place = _place_of_head(self.session, request.head, request.model)
        self.logits = int(cast("int", self.head.grid_shape[1]))
        self.names, self.names_source, self.wnids = self._find_names(request.names)

    @property
    def head(self) -> HeadRecord:
        """The head that is audited."""
        return self.session.heads[self.place]

    @property
    def classes(self) -> int:
        """Number of classes; a model of one logit has two: 0 without, 1 with the class."""
        return max(2, self.logits)

    @property
    def arranged(self) -> bool:
        """Whether the cells have known rows and columns; without them nothing is measured by place."""
        return UNARRANGED not in self.head.note

    @property
    def independent(self) -> bool:
        """Whether several classes may be true at once: the model ends in a sigmoid for each."""
        return self.head.activation == "sigmoid" and self.logits > 1

    def name(self, index: int) -> str:
        """A class's name, or its number."""
        return self.names[index] if self.names is not None else f"class {index}"

    def resolve(self, preprocess: str | None) -> ResolvedPreprocess:
        """The preprocessing that was asked for or is found beside or in the model."""
        metadata = {entry.key: entry.value for entry in self.rewrite.model.metadata_props}
        return resolve_preprocess(self.session.input, request=preprocess, model_path=self.path, metadata=metadata)

    def _find_names(self, path: Path | None) -> tuple[tuple[str, ...] | None, str, tuple[str, ...] | None]:
        """Names, where they come from, and WordNet ids; two names for a model of one logit."""
        found = class_names(self.path, self.logits, asked=path).of_two_classes()
        return found.names, found.source, found.wnids


def _place_of_head(session: GridSession, wanted: str | None, model: Path) -> int:
    if wanted is None:
        return 0
    outputs = [head.output for head in session.heads]
    if wanted not in outputs:
        raise InputError(f"{model} has no lifted output {wanted!r}; it has {', '.join(map(repr, outputs))}.")
    return outputs.index(wanted)


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
    samples: tuple[Sample, ...]
    preprocess: ResolvedPreprocess
    class_map: ClassMap
    ranking: Ranking | None = None


def prepare(subject: Subject, request: Request, decided: Decisions | None = None) -> PreparedData:
    """Open the data set, and decide the preprocessing and the classes.

    Args:
        subject: the model.
        request: what was asked for.
        decided: what an unfinished run of the same request had decided.

    Raises:
        InputError: the data set, the labels or the preprocessing will not do.
    """
    data = open_data(request.data, labels=request.labels)
    offset = request.offset if decided is None else decided.offset
    class_map = resolve_classes(
        data,
        classes=subject.classes,
        names=subject.names,
        wnids=subject.wnids,
        map_file=request.class_map,
        offset=offset,
    )
    if decided is not None:
        chosen = ResolvedPreprocess(decided.preprocess, decided.source, decided.assumed)
        class_map = ClassMap(class_map.offset, class_map.table, decided.class_map_source)
        return PreparedData(data, apply_class_map(data, class_map), chosen, class_map)
    possible = _possible_offsets(data, subject, class_map, offset)
    if request.preprocess == AUTO:
        return _investigate(subject, data, class_map, possible)
    chosen = subject.resolve(request.preprocess)
    if len(possible) > 1:
        samples = apply_class_map(data, class_map)
        trial = try_offsets(subject.session, chosen.preprocess, samples, class_map, possible, head=subject.place)
        class_map = resolve_classes(
            data, classes=subject.classes, names=subject.names, wnids=subject.wnids, offset=trial.offset
        )
        class_map = ClassMap(class_map.offset, class_map.table, trial.sentence())
    return PreparedData(data, apply_class_map(data, class_map), chosen, class_map)


def _possible_offsets(data: DataSet, subject: Subject, class_map: ClassMap, given: int | None) -> tuple[int, ...]:
    """Offsets that only the model's answers can decide between; empty where all is known."""
    if given is not None or class_map.offset is None:
        return ()
    return candidate_offsets(data, subject.classes, subject.names)


def _investigate(subject: Subject, data: DataSet, class_map: ClassMap, possible: tuple[int, ...]) -> PreparedData:
    """Let the detective rank preprocessings, and offsets with them."""
    from onnx_gapmil.fitting.preprocessing import rank_presets

    known = class_map.offset or 0
    labelled = [
        (sample.image, frozenset(label - known for label in sample.labels))
        for sample in apply_class_map(data, class_map)
    ]
    ranking = rank_presets(
        subject.session,
        labelled,
        base=subject.resolve(None).preprocess,
        offsets=possible or (known,),
        head=subject.place,
    )
    if len(possible) > 1:
        class_map = resolve_classes(
            data, classes=subject.classes, names=subject.names, wnids=subject.wnids, offset=ranking.offset
        )
    found = ResolvedPreprocess(ranking.best, ranking.sentence, assumed=True)
    return PreparedData(data, apply_class_map(data, class_map), found, class_map, ranking=ranking)
