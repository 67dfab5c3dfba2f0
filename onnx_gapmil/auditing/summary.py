"""``summary.json``: what an audit found, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx_gapmil.aggregate import AGGREGATORS
from onnx_gapmil.metrics import summarise
from onnx_gapmil.metrics.accuracy import accuracy, macro_accuracy
from onnx_gapmil.metrics.intervals import share_interval
from onnx_gapmil.metrics.summary import seed_of
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.auditing.journal import Record
    from onnx_gapmil.auditing.measuring import Run
    from onnx_gapmil.rewriting.record import HeadRecord

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class AuditSummary:
    """What an audit found.

    Shares are in 0..1; what was not measured (no boxes, no masks, cells of unknown arrangement) is None.

    Attributes:
        model: the file, its SHA-256 and its head.
        data: the data set; see `DataSet.to_json`.
        images: images measured.
        failed: images kept out; ``failures`` names each with its reason.
        top1: share of images of which a true class has the highest logit.
        top5: share of images of which one is among the five highest.
        aggregators: top-1 and top-5 under each aggregator.
        measures: everything that `onnx_gapmil.metrics.summarise` finds, by its key in ``summary.json``.
        conditions: preprocessing, class map, provider, versions: under what all of this holds.
    """

    model: dict[str, Any]
    data: dict[str, Any]
    images: int
    failed: int
    failures: tuple[dict[str, str], ...]
    top1: float
    top5: float
    aggregators: dict[str, dict[str, Any]]
    measures: dict[str, Any]
    conditions: dict[str, Any]
    classes: tuple[dict[str, Any], ...] = field(repr=False, default=())

    def to_json(self) -> dict[str, Any]:
        """The content of ``summary.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model["path"],
            "model_sha256": self.model["sha256"],
            "verdict": self.model["verdict"],
            "head": self.model["head"],
            "data": self.data,
            "images": self.images,
            "failed": self.failed,
            "failures": list(self.failures),
            **self.conditions,
            "aggregators": self.aggregators,
            **self.measures,
        }


def summarise_run(run: Run) -> AuditSummary:
    """Turn the records of a run into its summary; the same records give the same summary to the last bit."""
    good = [record for record in run.records if "error" not in record]
    measures = summarise([record["measures"] for record in good])
    classes = measures.pop("classes")
    aggregators = {name: _aggregated(good, name) for name in AGGREGATORS}
    subject, exhibit = run.subject, run.exhibit
    return AuditSummary(
        model={
            "path": str(subject.path),
            "sha256": subject.rewrite.source.sha256,
            "verdict": subject.head.verdict,
            "head": _head(subject.head),
        },
        data=exhibit.data.to_json(),
        images=len(good),
        failed=len(run.records) - len(good),
        failures=tuple(
            {"image": record["name"], "error": record["error"]} for record in run.records if "error" in record
        ),
        top1=measures["top1"],
        top5=measures["top5"],
        aggregators=aggregators,
        measures=measures,
        conditions=_conditions(run),
        classes=tuple(classes),
    )


def _aggregated(good: Sequence[Record], name: str) -> dict[str, Any]:
    ranks = [record["aggregators"][name] for record in good]
    labels = [record["measures"]["labels"] for record in good]
    right = sum(min(each) < 1 for each in ranks)
    return {
        "top1": accuracy(ranks, 1),
        "top5": accuracy(ranks, 5),
        "macro_top1": macro_accuracy(labels, ranks, 1),
        "macro_top5": macro_accuracy(labels, ranks, 5),
        # The draws of the image-level figure, so that the model's own mean has one interval and not two.
        "interval": list(share_interval(right, len(ranks), seed=seed_of("top1"))),
    }


def _head(head: HeadRecord) -> dict[str, Any]:
    return {
        "output": head.output,
        "activation": head.activation,
        "grid_shape": list(head.grid_shape),
        "quantized": head.quantized,
        "note": head.note,
    }


def _conditions(run: Run) -> dict[str, Any]:
    import numpy as np
    import onnxruntime

    exhibit = run.exhibit
    return {
        "preprocess": exhibit.preprocess.preprocess.to_json(),
        "preprocess_source": exhibit.preprocess.source,
        "preprocess_assumed": exhibit.preprocess.assumed,
        "class_map": exhibit.class_map.to_json(),
        "names_source": run.subject.names_source,
        "provider": run.subject.session.provider,
        "versions": {"onnx-gapmil": __version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
    }
