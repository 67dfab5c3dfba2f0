"""From the records of a run to its summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.confusions import counted
from onnx_gapmil.auditing.multi_label import MultiLabelRun, judged_classes
from onnx_gapmil.auditing.records import ImageRecord
from onnx_gapmil.auditing.standing import standing_of
from onnx_gapmil.auditing.summary import (
    MOST_SUSPECTS,
    SCHEMA_VERSION,
    AggregatorFigures,
    AuditedData,
    AuditedHead,
    AuditedProof,
    AuditSummary,
    Conditions,
    LabelMapping,
    ProofFigure,
    ProviderUse,
    SuspectLabel,
    SuspectLabels,
)
from onnx_gapmil.data.unjudged import with_unjudged
from onnx_gapmil.files.columns import known
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.graph.weights import weight_digests
from onnx_gapmil.metrics import class_rows, summarise
from onnx_gapmil.metrics.accuracy import macro_share, share_of_right
from onnx_gapmil.metrics.by_slice import figures_by_slice, suspect_count
from onnx_gapmil.metrics.intervals import share_interval
from onnx_gapmil.metrics.means import Means, seed_of
from onnx_gapmil.metrics.summary import measured_boxes
from onnx_gapmil.metrics.swaps import LikelySwap, swaps_of
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.auditing.columns import RunColumns
    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.standing import Standing
    from onnx_gapmil.metrics.columns import ImageNumbers
    from onnx_gapmil.prediction.classifier import Classifier


def summarise_run(run: Run, standing: Standing | None = None) -> AuditSummary:
    """Turn the records of a run into its summary; the same records give the same summary to the last bit.

    Args:
        run: the audit.
        standing: where its images stand, if that is known already.
    """
    columns = run.columns
    images = columns.measures
    # Of a multi-label head there may be images without a label, which are negatives for all classes.
    standing = (standing or standing_of(run)).among(columns.labelled)
    slices = with_unjudged(standing.slices, (sample.columns for sample in run.prepared.data.samples))
    means = Means()
    for name in AGGREGATORS:  # images without a label have no rank
        for key in ("top1", "top5", "macro_top1", "macro_top5"):
            means.count(f"aggregators.{name}.{key}", len(images))
    suspects = _suspects(run, standing.suspects, means)
    figures = summarise(images)
    by_class = _multi_label(run)
    several, intervals = by_class.figures()
    figures = replace(
        figures,
        intervals={**figures.intervals, **means.intervals, **intervals},
        counts={**figures.counts, **means.counts},
    )
    # Every field of both, so that neither can grow a key that the summary has not.
    return AuditSummary(
        **vars(_conditions(run, by_class)),
        **vars(figures),
        suspect_labels=suspects,
        slices=figures_by_slice(images, slices.members, measured_boxes(images)[1], standing.suspects),
        slice_columns=slices.columns,
        multi_label=several,
        likely_swaps=() if several is not None else _swaps(run.classifier, images.images),
        classes=class_rows(images),
    )


def _suspects(run: Run, places: tuple[int, ...] | None, means: Means) -> SuspectLabels:
    """How many there are, and the first of them; their places are among the images that have a label."""
    at = run.columns.records[run.columns.labelled]
    marks = None if places is None else np.isin(np.arange(len(at)), places)
    name = run.classifier.class_names.name
    first = (run.records[int(at[place])] for place in (places or ())[:MOST_SUSPECTS])
    listed = [
        SuspectLabel(
            image=record.image,
            labels=record.measures.labels,
            label_names=tuple(map(name, record.measures.labels)),
            answer=record.measures.prediction,
            answer_name=name(record.measures.prediction),
            confidence=record.measures.confidence,
            label_probability=record.measures.label_probability or 0.0,
        )
        for record in first
        if isinstance(record, ImageRecord)
    ]
    return SuspectLabels(**vars(suspect_count(marks, means)), listed=tuple(listed))


def _multi_label(run: Run) -> MultiLabelRun:
    reading = run.classifier.reading
    judged = judged_classes(run.prepared.samples) if reading.multi_label else ()
    return MultiLabelRun(reading, run.columns, judged, total=run.classifier.classes)


def _swaps(classifier: Classifier, images: ImageNumbers) -> tuple[LikelySwap, ...]:
    labels, places = images.of_one_label()
    table: dict[int, Counter[int]] = {}
    for (label, answer), times in counted(labels, images["prediction"][places]).items():
        table.setdefault(label, Counter())[answer] = times
    return swaps_of(table, classes=classifier.classes)


def _conditions(run: Run, several: MultiLabelRun) -> Conditions:
    import onnxruntime

    classifier, prepared, columns = run.classifier, run.prepared, run.columns
    return Conditions(
        schema_version=SCHEMA_VERSION,
        model=classifier.name,
        model_sha256=classifier.rewrite.source.sha256,
        model_weights=weight_digests(classifier.rewrite.source),
        verdict=classifier.head.verdict,
        head=_head(classifier, known(columns.numbers["measures.placeless_share"])),
        proof=_proof(classifier),
        data=from_json(AuditedData, prepared.data.to_json()),
        images=len(columns),
        failed=len(columns.failures),
        failures=columns.failures,
        preprocess=prepared.preprocess.preprocess,
        preprocess_source=prepared.preprocess.source,
        preprocess_assumed=prepared.preprocess.assumed,
        preprocess_guessed=prepared.preprocess.guessed,
        fast_decode=run.request.fast_decode,
        class_map=from_json(LabelMapping, prepared.class_map.to_json()),
        names_source=classifier.class_names.source,
        provider=from_json(ProviderUse, classifier.session.provider),
        versions={"onnx-gapmil": __version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        size=None if classifier.rewrite.unchanged else classifier.rewrite.size,
        stitch=classifier.session.stitch,
        aggregators={name: _aggregated(columns, name, several) for name in AGGREGATORS},
    )


def _head(classifier: Classifier, shares: npt.NDArray[np.float64]) -> AuditedHead:
    head = classifier.head
    return AuditedHead(
        output=head.output,
        activation=head.activation,
        grid_shape=head.grid_shape,
        quantized=head.quantized,
        position_dependent=head.position_dependent,
        note=head.note,
        reading=classifier.reading.kind,
        thresholds=_thresholds(classifier),
        class_token=True if head.class_token is not None else None,
        class_token_lift=head.class_token,
        placeless_share=sum(map(float, shares)) / len(shares) if len(shares) else None,
        pool_weights=head.pool_weights,
        pool=head.pool,
    )


def _thresholds(classifier: Classifier) -> float | tuple[float, ...] | None:
    found = classifier.reading.said_thresholds
    return tuple(found) if isinstance(found, list) else found


def _proof(classifier: Classifier) -> AuditedProof | None:
    """Without when it was proved and how long that took, which would tell two runs apart."""
    proof = classifier.session.proof
    if proof is None:
        return None
    found, place = (ProofFigure(**figure.to_json()) for figure in (proof.sum, proof.place))
    return AuditedProof(sum=found, place=place, claim=proof.claim)


def _aggregated(columns: RunColumns, name: str, several: MultiLabelRun) -> AggregatorFigures:
    images, ranks = columns.measures.images, columns.ranks[name]
    best = np.minimum.reduceat(ranks, images.starts)
    right = int(np.count_nonzero(best < 1))
    return AggregatorFigures(
        top1=share_of_right(best < 1),
        top5=share_of_right(best < 5),
        macro_top1=macro_share(images.labels, ranks < 1),
        macro_top5=macro_share(images.labels, ranks < 5),
        # The draws of the image-level figure, so that the model's own mean has one interval and not two.
        interval=share_interval(right, len(best), seed=seed_of("top1")),
        mean_average_precision=several.precision(name),
    )
