"""``compare.json`` as one value: what was compared, under what conditions, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx_gapmil.aggregate.activation import Activation
from onnx_gapmil.auditing.records import Failure
from onnx_gapmil.auditing.summary import AuditedData, ProviderUse
from onnx_gapmil.data.slices import SlicedColumn, Slices
from onnx_gapmil.files.serial import from_json, to_json
from onnx_gapmil.files.wording import count
from onnx_gapmil.graph.weights import weight_digests
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.lift.verdict import Verdict
from onnx_gapmil.metrics.intervals import Interval
from onnx_gapmil.rewriting.sizing.record import SizeRecord
from onnx_gapmil.validation.comparing.classes import ClassFigures, class_figures, unjudged_classes
from onnx_gapmil.validation.comparing.figures import (
    Accuracy,
    Agreement,
    DriftFigures,
    Flips,
    GridFigures,
    PairFigures,
    figures_of,
)
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.validation.comparing.columns import PairColumns
    from onnx_gapmil.validation.comparing.sides import OpenedSide, Sides

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One of the two.

    Attributes:
        path: the file, as it was given.
        sha256: of that file.
        weights: SHA-256 of each file beside it that holds weights, by name.
        verdict: on its head.
        output: the vendor's output that the head ends in.
        aggregator: what its answers are made of its cells by; ``mean`` is its own pool.
        quantized: whether the head rounds to integers on the way.
        position_dependent: whether each cell has weights of its own.
        grid_shape: (N, K, H, W) of its prediction grid.
        places: whether it is known where its cells look.
        preprocess: how photos became its inputs.
        preprocess_source: where that comes from.
        preprocess_assumed: whether anything of it was guessed, or found on labelled images, rather than stated.
        labels_source: how the data's labels became its classes; "" without labels.
        names_source: where its classes' names come from.
        provider: what it ran on.
        preprocess_guessed: which parts of the preprocessing nothing states.
        class_token: whether its head reads a class token; None where it does not.
        activation: what the file makes of its logits: ``softmax``, ``sigmoid`` or ``none``.
        thresholds: of a multi-label head, the probability above which a class is present: for all, or for each; None of
            others.
        pool: its own pool, what the file itself answers by: ``mean``, or an aggregator that it was repooled by.
        size: at which input size it was used, where that was asked for; None where it is the file's own.
        stitch: how many times as fine as the model's own its grid is, along each axis.
    """

    path: str
    sha256: str
    weights: Mapping[str, str]
    verdict: Verdict
    output: str
    aggregator: str
    quantized: bool
    position_dependent: bool
    grid_shape: tuple[int | str, ...]
    places: bool
    preprocess: Preprocess
    preprocess_source: str
    preprocess_assumed: bool
    labels_source: str
    names_source: str
    provider: ProviderUse
    preprocess_guessed: tuple[str, ...] = ()
    class_token: bool | None = None
    activation: Activation = "none"
    thresholds: float | tuple[float, ...] | None = None
    pool: str = "mean"
    size: SizeRecord | None = None
    stitch: int = 1

    @property
    def pooled_by(self) -> str:
        """What its answers are made of its cells by, whether the file was repooled or the comparison was told to."""
        return self.pool if self.aggregator == "mean" else self.aggregator


@dataclass(frozen=True)
class Models:
    """Both."""

    old: ComparedModel
    new: ComparedModel


@dataclass(frozen=True)
class AlignedClasses:
    """Which class is which; see `Alignment`.

    Attributes:
        aligned: pairs of classes that are one.
        old: classes of the old model.
        new: of the new one.
        source: one sentence: how they were found.
    """

    aligned: int
    old: int
    new: int
    source: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """What a comparison found: every key of ``compare.json`` is an attribute.

    Shares are in 0..1; what was not measured (no labels, no boxes, unknown places) is None. The formulas are in
    ``docs/validation.md``.

    Attributes:
        schema_version: of ``compare.json``.
        models: what was compared.
        same: whether both sides are one (the same file, output, aggregator, preprocessing and classes).
        data: the data set.
        images: that both answered.
        failed: that were kept out.
        failures: each with its reason.
        aligned_classes: which class is which.
        agreement: of the answers.
        flips: images that the new model answers otherwise.
        accuracy: top-1 of both; None without labels.
        accuracy_top5: top-5 of both; None without labels.
        drift: of logits and probabilities.
        grids: of the evidence, on common places.
        slices: the same figures by column and value; by label under ``class``.
        slice_columns: every column, with what became of it.
        intervals: 95 % intervals by the figure's place.
        counts: by the figure's place, how many images it is of where that is not all of them.
        notes: sentences: what was left out or assumed.
        versions: of what computed, by name.
        classes: a row for each class that labels an image; in ``classes.parquet``, not in JSON.
    """

    schema_version: int
    models: Models
    same: bool
    data: AuditedData
    images: int
    failed: int
    failures: tuple[Failure, ...]
    aligned_classes: AlignedClasses
    agreement: Agreement
    flips: Flips
    accuracy: Accuracy | None
    accuracy_top5: Accuracy | None
    drift: DriftFigures
    grids: GridFigures
    slices: Mapping[str, Mapping[str, PairFigures]]
    slice_columns: Mapping[str, SlicedColumn]
    intervals: Mapping[str, Interval]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    classes: tuple[ClassFigures, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The content of ``compare.json``."""
        content: dict[str, Any] = to_json(self)
        del content["classes"]
        return content

    def __repr__(self) -> str:
        flips = self.flips
        fixed = "" if flips.fixed is None else f" ({flips.fixed} fixed, {flips.broken} broken)"
        return f"Comparison of {count(self.images, 'image')}: {count(flips.count, 'answer')} changed{fixed}"


def comparison_of(sides: Sides, records: PairColumns, found: Slices) -> Comparison:
    """Turn the records of a run into its result; the same records give the same to the last bit.

    Args:
        sides: the models.
        records: of all images.
        found: the slices of those that were compared.
    """
    numbers = records.numbers
    figures = figures_of(numbers, unplaced=sides.unplaced, same=sides.same)
    slices = {
        column: {
            value: figures_of(numbers.among(places), unplaced=sides.unplaced, same=sides.same, brief=True)
            for value, places in values.items()
        }
        for column, values in found.members.items()
    }
    said = found.notes()
    classes: tuple[ClassFigures, ...] = ()
    if sides.labelled:
        if "class" in found.columns:
            said = (*said, "Slices by 'class' are by label; the data's own column of that name makes none.")
        classes = class_figures(records, sides)
        slices["class"] = {row.key: row.figures for row in classes}
    columns = {name: column for name, column in found.columns.items() if name != "class" or not sides.labelled}
    if lost := unjudged_classes(classes, sides):
        columns["class"] = SlicedColumn(len(classes), 0, None, None, unjudged=lost)
    return Comparison(
        schema_version=SCHEMA_VERSION,
        models=Models(_model(sides.old), _model(sides.new)),
        same=sides.same,
        data=from_json(AuditedData, sides.data.to_json()),
        failed=len(records.failures),
        failures=records.failures,
        aligned_classes=AlignedClasses(
            len(sides.alignment.pairs),
            sides.alignment.old_count,
            sides.alignment.new_count,
            sides.alignment.source,
        ),
        slices=slices,
        slice_columns=columns,
        notes=(*sides.notes, *said),
        versions=_versions(),
        classes=classes,
        **vars(figures),
    )


def _model(side: OpenedSide) -> ComparedModel:
    classifier, head = side.classifier, side.classifier.head
    levels = classifier.reading.said_thresholds
    return ComparedModel(
        path=classifier.name,
        sha256=classifier.rewrite.source.sha256,
        weights=weight_digests(classifier.rewrite.source),
        verdict=head.verdict,
        output=head.output,
        aggregator=side.aggregator.key,
        quantized=head.quantized,
        position_dependent=head.position_dependent,
        grid_shape=head.grid_shape,
        places=head.arranged and head.places.known,
        preprocess=side.preprocess,
        preprocess_source=side.preprocess_source,
        preprocess_assumed=side.preprocess_assumed,
        labels_source=side.labels_source,
        names_source=classifier.class_names.source,
        provider=from_json(ProviderUse, classifier.session.provider),
        preprocess_guessed=side.preprocess_guessed,
        class_token=True if head.class_token is not None else None,
        activation=head.activation,
        thresholds=tuple(levels) if isinstance(levels, list) else levels,
        pool=head.pool,
        size=None if classifier.rewrite.unchanged else classifier.rewrite.size,
        stitch=classifier.session.stitch,
    )


def _versions() -> dict[str, str]:
    import numpy as np
    import onnxruntime

    return {"onnx-gapmil": __version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
