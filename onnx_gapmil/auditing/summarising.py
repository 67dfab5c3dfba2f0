"""From the records of a run to its summary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.multi_label import MultiLabelRun, judged_classes
from onnx_gapmil.auditing.records import Failure, measured, measures_of
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
from onnx_gapmil.data.slices import with_unjudged
from onnx_gapmil.files.packed import Chosen, itself
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.graph.weights import weight_digests
from onnx_gapmil.metrics import class_rows, summarise
from onnx_gapmil.metrics.accuracy import accuracy, macro_accuracy
from onnx_gapmil.metrics.by_slice import figures_by_slice, suspect_count
from onnx_gapmil.metrics.intervals import share_interval
from onnx_gapmil.metrics.means import Means, seed_of
from onnx_gapmil.metrics.summary import measured_boxes
from onnx_gapmil.metrics.swaps import LikelySwap, likely_swaps
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.records import ImageRecord
    from onnx_gapmil.auditing.standing import Standing
    from onnx_gapmil.metrics import ImageMeasures
    from onnx_gapmil.prediction.classifier import Classifier


def summarise_run(run: Run, standing: Standing | None = None) -> AuditSummary:
    """Turn the records of a run into its summary; the same records give the same summary to the last bit.

    Args:
        run: the audit.
        standing: where its images stand, if that is known already.
    """
    good = measured(run.records)
    # Of a multi-label head there may be images without a label, which are negatives for all classes.
    labelled = [place for place, record in enumerate(good) if record.measures.labels]
    standing = (standing or standing_of(run)).among(labelled)
    slices = with_unjudged(standing.slices, (sample.columns for sample in run.prepared.data.samples))
    images = measures_of(good, labelled)
    means = Means()
    for name in AGGREGATORS:  # images without a label have no rank
        for key in ("top1", "top5", "macro_top1", "macro_top5"):
            means.count(f"aggregators.{name}.{key}", len(images))
    suspects = _suspects(run, Chosen(good, labelled, itself), standing.suspects, means)
    figures = summarise(images)
    several, intervals = _multi_label(run).figures()
    figures = replace(
        figures,
        intervals={**figures.intervals, **means.intervals, **intervals},
        counts={**figures.counts, **means.counts},
    )
    # Every field of both, so that neither can grow a key that the summary has not.
    return AuditSummary(
        **vars(_conditions(run)),
        **vars(figures),
        suspect_labels=suspects,
        slices=figures_by_slice(images, slices.members, measured_boxes(images)[1], standing.suspects),
        slice_columns=slices.columns,
        multi_label=several,
        likely_swaps=() if several is not None else _swaps(run.classifier, images),
        classes=class_rows(images),
    )


def _suspects(run: Run, good: Sequence[ImageRecord], places: tuple[int, ...] | None, means: Means) -> SuspectLabels:
    """How many there are, and the first of them."""
    marks = None if places is None else np.isin(np.arange(len(good)), places).tolist()
    name = run.classifier.class_names.name
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
        for record in (good[place] for place in (places or ())[:MOST_SUSPECTS])
    ]
    return SuspectLabels(**vars(suspect_count(marks, means)), listed=tuple(listed))


def _multi_label(run: Run) -> MultiLabelRun:
    good, judged = measured(run.records), judged_classes(run.prepared.samples)
    return MultiLabelRun(run.classifier.reading, good, judged, total=run.classifier.classes)


def _swaps(classifier: Classifier, images: Sequence[ImageMeasures]) -> tuple[LikelySwap, ...]:
    pairs = [(image.labels, image.prediction) for image in images]
    return likely_swaps([own for own, _ in pairs], [answer for _, answer in pairs], classes=classifier.classes)


def _conditions(run: Run) -> Conditions:
    import onnxruntime

    classifier, prepared = run.classifier, run.prepared
    good, several = measured(run.records), _multi_label(run)
    ranks = _Ranks.of(good)
    failures = tuple(record for record in run.records if isinstance(record, Failure))
    return Conditions(
        schema_version=SCHEMA_VERSION,
        model=classifier.name,
        model_sha256=classifier.rewrite.source.sha256,
        model_weights=weight_digests(classifier.rewrite.source),
        verdict=classifier.head.verdict,
        head=_head(classifier, [record.measures.placeless_share for record in good]),
        proof=_proof(classifier),
        data=from_json(AuditedData, prepared.data.to_json()),
        images=len(good),
        failed=len(failures),
        failures=failures,
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
        aggregators={name: _aggregated(ranks, name, several) for name in AGGREGATORS},
    )


def _head(classifier: Classifier, shares: Sequence[float | None]) -> AuditedHead:
    head, known = classifier.head, [share for share in shares if share is not None]
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
        placeless_share=sum(known) / len(known) if known else None,
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


@dataclass(frozen=True)
class _Ranks:
    """Of each image with a label, its labels, and by aggregator their ranks."""

    labels: list[tuple[int, ...]]
    by_aggregator: Mapping[str, list[tuple[int, ...]]]

    @classmethod
    def of(cls, good: Sequence[ImageRecord]) -> _Ranks:
        found = cls([], {name: [] for name in AGGREGATORS})
        for record in good:
            if record.measures.labels:
                found.labels.append(record.measures.labels)
                for name, ranks in found.by_aggregator.items():
                    ranks.append(record.aggregators[name])
        return found


def _aggregated(found: _Ranks, name: str, several: MultiLabelRun) -> AggregatorFigures:
    labels, ranks = found.labels, found.by_aggregator[name]
    right = sum(min(each) < 1 for each in ranks)
    return AggregatorFigures(
        top1=accuracy(ranks, 1),
        top5=accuracy(ranks, 5),
        macro_top1=macro_accuracy(labels, ranks, 1),
        macro_top5=macro_accuracy(labels, ranks, 5),
        # The draws of the image-level figure, so that the model's own mean has one interval and not two.
        interval=share_interval(right, len(ranks), seed=seed_of("top1")),
        mean_average_precision=several.precision(name),
    )
