"""From the records of a run to its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.auditing.records import Failure, measured
from onnx_gapmil.auditing.summary import (
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
)
from onnx_gapmil.files.serial import from_json
from onnx_gapmil.graph.weights import weight_digests
from onnx_gapmil.metrics import class_rows, summarise
from onnx_gapmil.metrics.accuracy import accuracy, macro_accuracy
from onnx_gapmil.metrics.intervals import share_interval
from onnx_gapmil.metrics.summary import seed_of
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.auditing.records import ImageRecord
    from onnx_gapmil.prediction.classifier import Classifier


def summarise_run(run: Run) -> AuditSummary:
    """Turn the records of a run into its summary; the same records give the same summary to the last bit."""
    images = [record.measures for record in measured(run.records)]
    # Every field of both, so that neither can grow a key that the summary has not.
    return AuditSummary(**vars(_conditions(run)), **vars(summarise(images)), classes=class_rows(images))


def _conditions(run: Run) -> Conditions:
    import numpy as np
    import onnxruntime

    classifier, prepared = run.classifier, run.prepared
    good = measured(run.records)
    failures = tuple(record for record in run.records if isinstance(record, Failure))
    return Conditions(
        schema_version=SCHEMA_VERSION,
        model=classifier.name,
        model_sha256=classifier.rewrite.source.sha256,
        model_weights=weight_digests(classifier.rewrite.source),
        verdict=classifier.head.verdict,
        head=_head(classifier),
        proof=_proof(classifier),
        data=from_json(AuditedData, prepared.data.to_json()),
        images=len(good),
        failed=len(failures),
        failures=failures,
        preprocess=prepared.preprocess.preprocess,
        preprocess_source=prepared.preprocess.source,
        preprocess_assumed=prepared.preprocess.assumed,
        preprocess_guessed=prepared.preprocess.guessed,
        class_map=from_json(LabelMapping, prepared.class_map.to_json()),
        names_source=classifier.class_names.source,
        provider=from_json(ProviderUse, classifier.session.provider),
        versions={"onnx-gapmil": __version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        aggregators={name: _aggregated(good, name) for name in AGGREGATORS},
    )


def _head(classifier: Classifier) -> AuditedHead:
    head = classifier.head
    return AuditedHead(
        output=head.output,
        activation=head.activation,
        grid_shape=head.grid_shape,
        quantized=head.quantized,
        position_dependent=head.position_dependent,
        note=head.note,
    )


def _proof(classifier: Classifier) -> AuditedProof | None:
    """Without when it was proved and how long that took, which would tell two runs apart."""
    proof = classifier.session.proof
    if proof is None:
        return None
    found, place = (ProofFigure(**figure.to_json()) for figure in (proof.sum, proof.place))
    return AuditedProof(sum=found, place=place, claim=proof.claim)


def _aggregated(good: Sequence[ImageRecord], name: str) -> AggregatorFigures:
    ranks = [record.aggregators[name] for record in good]
    labels = [record.measures.labels for record in good]
    right = sum(min(each) < 1 for each in ranks)
    return AggregatorFigures(
        top1=accuracy(ranks, 1),
        top5=accuracy(ranks, 5),
        macro_top1=macro_accuracy(labels, ranks, 1),
        macro_top5=macro_accuracy(labels, ranks, 5),
        # The draws of the image-level figure, so that the model's own mean has one interval and not two.
        interval=share_interval(right, len(ranks), seed=seed_of("top1")),
    )
