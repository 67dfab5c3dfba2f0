"""``summary.json`` as one value: what was audited, under what conditions, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.aggregate.reading import ReadAs
from onnx_gapmil.auditing.by_size import SizeFigures
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.data.slices import SlicedColumn
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.lift.verdict import Verdict
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.metrics.figures import ClassRow, Figures, SliceFigures
from onnx_gapmil.metrics.intervals import Interval, is_at_chance, ranks_at_chance
from onnx_gapmil.metrics.multilabel import MultiLabelFigures
from onnx_gapmil.metrics.swaps import LikelySwap
from onnx_gapmil.rewriting.sizing.record import SizeRecord

SCHEMA_VERSION = 1
#: Suspect labels that ``summary.json`` lists.
MOST_SUSPECTS = 200


@dataclass(frozen=True, kw_only=True)
class AuditedHead:
    """The head whose cells were measured.

    Attributes:
        output: the vendor's output that it ends in.
        activation: what the vendor's graph makes of its logits: ``softmax``, ``sigmoid`` or ``none``.
        reading: how they are read as classes: ``one-of-many``, ``two-classes`` (of one logit) or ``multi-label``.
        thresholds: of a multi-label head, the probability above which a class is present: for all, or for each; None of
            others.
        grid_shape: (N, K, H, W) of the prediction grid; an open axis has a symbol's name.
        quantized: whether it rounds to integers on the way, so that cells and logits agree up to rounding.
        position_dependent: whether each cell has weights of its own.
        note: what else a reader of the grid must know; empty for nothing.
        class_token: whether it reads a class token; None where it does not.
        class_token_lift: how far that was lifted, ``direct`` or ``through``.
        placeless_share: of such a head, how much of an answer no place brings, on average over the images.
        pool_weights: of its pools those that do not weigh all positions alike.
        pool: what the model's own answers are made by: ``mean`` of the cells, or the aggregator that it was repooled
            with.
    """

    output: str
    activation: Activation
    grid_shape: tuple[int | str, ...]
    quantized: bool
    position_dependent: bool
    note: str
    reading: ReadAs
    thresholds: float | tuple[float, ...] | None
    class_token: bool | None = None
    class_token_lift: str | None = None
    placeless_share: float | None = None
    pool_weights: tuple[WeightedPool, ...] = ()
    pool: str = "mean"


@dataclass(frozen=True, kw_only=True)
class ProofFigure:
    """What one proof measured; see ``docs/proofs.md``.

    Attributes:
        passed: whether it holds; None where it was not run.
        measure: the worst figure.
        allowed: the largest that passes.
        skipped: why it was not run.
    """

    passed: bool | None
    measure: float | None
    allowed: float | None
    skipped: str | None


@dataclass(frozen=True, kw_only=True)
class AuditedProof:
    """What was proved of the model as it was rewritten in memory.

    Attributes:
        sum: that each class's logit is the mean of its cells.
        place: that the cells look where they are said to look.
        claim: both in a sentence.
    """

    sum: ProofFigure
    place: ProofFigure
    claim: str


@dataclass(frozen=True, kw_only=True)
class AuditedData:
    """The data set as it was found; see `DataSet`.

    Attributes:
        kind: of files, such as ``coco``.
        root: the folder that the images' names are relative to.
        source: one sentence: what was read and where.
        images: that it has.
        keys_sha256: of their names, whatever their order: a baseline of other images is no baseline.
        notes: sentences: what was left out or assumed.
    """

    kind: str
    root: str
    source: str
    images: int
    keys_sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LabelMapping:
    """How labels became the model's classes; see `ClassMap`.

    Attributes:
        offset: class = label + offset; None where no label is a number.
        source: how that was found.
        table: the classes of each label; None where the offset says it all.
    """

    offset: int | None
    source: str
    table: Mapping[str, tuple[int, ...]] | None


@dataclass(frozen=True, kw_only=True)
class ProviderUse:
    """What the model ran on; see `ProviderChoice`.

    Attributes:
        requested: what was asked for.
        used: what it got.
        device: by the name that its driver gives it; None for the CPU.
        reason: one sentence.
        nodes: of the graph, by ONNX Runtime's name of the provider.
    """

    requested: str
    used: str
    device: str | None
    reason: str
    nodes: Mapping[str, int]


@dataclass(frozen=True)
class AggregatorFigures:
    """Accuracy with the cells pooled in another way.

    Attributes:
        top1: share of images of which a true class comes first.
        top5: of which one is among the first five.
        macro_top1: `top1` with every class weighing as much.
        macro_top5: `top5` likewise.
        interval: 95 % interval of `top1`.
        mean_average_precision: of a multi-label head, with each class pooled by itself; None of others, and where more
            than 200 classes are judged.
    """

    top1: float
    top5: float
    macro_top1: float
    macro_top5: float
    interval: Interval
    mean_average_precision: float | None = None


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What was audited, and under what all figures hold.

    Attributes:
        schema_version: of ``summary.json``.
        model: the file, as it was given.
        model_sha256: of that file.
        model_weights: SHA-256 of each file beside it that holds weights, by name.
        verdict: on its head, ``exact`` or ``conditional``.
        head: the head.
        proof: of the rewrite in memory; None of a rewritten file, whose record is checked instead.
        data: the data set.
        images: that were measured.
        failed: that were kept out.
        failures: each with its reason.
        preprocess: how photos became inputs.
        preprocess_source: where that comes from.
        preprocess_assumed: whether anything of it was guessed, or found on labelled images, rather than stated.
        preprocess_guessed: which parts of it nothing states.
        fast_decode: whether large JPEGs were decoded smaller than they are.
        class_map: how labels became classes.
        names_source: where the classes' names come from.
        provider: what the model ran on.
        versions: of what computed, by name.
        aggregators: accuracy by aggregator; ``mean`` is the model's own, where it was
            not repooled (``head.pool``).
        size: at which input size it was used, where that was asked for; None where it is the file's own.
        stitch: how many times as fine as the model's own the measured grids are, along each axis.
    """

    schema_version: int
    model: str
    model_sha256: str
    model_weights: Mapping[str, str]
    verdict: Verdict
    head: AuditedHead
    proof: AuditedProof | None = None
    data: AuditedData
    images: int
    failed: int
    failures: tuple[Failure, ...]
    preprocess: Preprocess
    preprocess_source: str
    preprocess_assumed: bool
    preprocess_guessed: tuple[str, ...] = ()
    fast_decode: bool = False
    class_map: LabelMapping
    names_source: str
    provider: ProviderUse
    versions: Mapping[str, str]
    aggregators: Mapping[str, AggregatorFigures]
    size: SizeRecord | None = None
    stitch: int = 1


@dataclass(frozen=True, kw_only=True)
class SuspectLabel:
    """An image whose label is suspect: the model is sure of something else, and no cell knows its label.

    Attributes:
        image: its name in the data set.
        labels: the model's classes that it is labelled with.
        label_names: of these.
        answer: the model's class.
        answer_name: of that.
        confidence: its probability.
        label_probability: that of the label; of several, their sum.
    """

    image: str
    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    answer: int
    answer_name: str
    confidence: float
    label_probability: float


@dataclass(frozen=True, kw_only=True)
class SuspectLabels:
    """Images whose label is suspect; the definition is that of `onnx_gapmil.metrics.suspects`.

    Attributes:
        images: how many.
        of: images in which a suspect was looked for.
        share: of them.
        listed: the first `MOST_SUSPECTS` of them, those whose answer is furthest above the label in probability first;
            all are in ``images.parquet``.
    """

    images: int
    of: int
    share: float | None
    listed: tuple[SuspectLabel, ...]


# The fields of the last base come first, as in summary.json.
@dataclass(frozen=True, kw_only=True)
class AuditSummary(Figures, Conditions):
    """What an audit found: every key of ``summary.json`` is an attribute.

    Shares are in 0..1. What was not measured (no boxes, no masks, cells of unknown arrangement) is None. The formulas
    are in ``docs/measures/``; what was audited is described by `Conditions`, what was found by `Figures`:

    - ``schema_version``, ``model``, ``model_sha256``, ``verdict``, ``head``: the model and the head that was measured;
    - ``proof``: what was proved of it;
    - ``data``, ``images``, ``failed``, ``failures``: the data set, and how many of its images were measured;
    - ``preprocess``, ``preprocess_source``, ``preprocess_assumed``, ``preprocess_guessed``, ``class_map``,
      ``names_source``, ``provider``, ``versions``: under what all figures hold;
    - ``aggregators``: accuracy with the cells pooled in another way, by aggregator; ``top1``, ``top5``, ``macro``: the
      model's own;
    - ``foreground``, ``recoverable``, ``error_causes``: whether the cells on the object know better than the image;
    - ``background_reliance``, ``background``, ``edges``: evidence off the object, and at the border;
    - ``pointing_game``, ``pointing_game_centre``, ``maxboxacc_v2``, ``maxboxacc_v1``, ``top1_localization``,
      ``localization``, ``pxap``: whether the grid finds the object, beside what the centre finds;
    - ``calibration``, ``several_objects``;
    - ``intervals``, ``counts``: 95 % intervals, and numbers of images, by the figure's place, as in
      ``foreground.wrong.any_top1``;
    - ``multi_label``: of a head whose classes are present each by itself, what stands in place of top-1: mean average
      precision, precision, recall and F1. None of other heads;
    - ``likely_swaps``: classes that are likely exchanged with each other; empty where none are.

    Attributes:
        suspect_labels: images whose model is sure of something else, and whose label no cell knows.
        slices: the figures of each slice, by column and value.
        slice_columns: every column, with what became of it.
        sizes: of an audit at several sizes, or with a stitched grid, a row for each; empty of others.
        classes: a row for each class that labels an image, by index; they are in ``classes.parquet``, not in JSON.
    """

    suspect_labels: SuspectLabels
    slices: Mapping[str, Mapping[str, SliceFigures]]
    slice_columns: Mapping[str, SlicedColumn]
    multi_label: MultiLabelFigures | None = None
    likely_swaps: tuple[LikelySwap, ...] = ()
    sizes: tuple[SizeFigures, ...] = ()
    classes: tuple[ClassRow, ...] = field(repr=False, default=())

    @property
    def is_at_chance(self) -> bool:
        """Whether the model is right no more often than guessing is: its preprocessing or class order may be wrong.

        Of a head that answers several labels at once: whether it ranks them no better than chance does.
        """
        if not self.images:
            return False
        if self.multi_label is not None:
            bounds = self.intervals.get("multi_label.mean_average_precision")
            found = self.multi_label
            return bounds is not None and ranks_at_chance(found.mean_average_precision, bounds[0], found.chance)
        classes = max(2, int(self.head.grid_shape[1]))
        return is_at_chance(round(self.top1 * self.images), self.images, classes)

    @property
    def cells_know_better(self) -> bool:
        """Whether the label wins cells on the object in errors more often than its control does, beyond chance."""
        bounds = self.intervals.get("foreground.wrong.excess")
        return bounds is not None and bounds[0] > 0

    def to_json(self) -> dict[str, Any]:
        """The content of ``summary.json``."""
        content: dict[str, Any] = to_json(self)
        del content["classes"]
        return content
