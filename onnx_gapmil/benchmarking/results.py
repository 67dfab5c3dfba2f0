"""What a benchmark found, as frozen values that serialize themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_gapmil.benchmarking.memory import PeakMemory
    from onnx_gapmil.benchmarking.timing import Spread
    from onnx_gapmil.lift.tokens.modes import ClassTokenMode
    from onnx_gapmil.lift.verdict import Verdict

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Measurement:
    """One graph at one batch size on one provider in one precision.

    Attributes:
        graph: "original", or the emission.
        batch: images at a time.
        seconds: of one run.
        ratio: of each run to the original's in the same round; None for the original itself.
        macs: multiply-adds of one image or of the fixed batch, by `bench.macs`.
        bound: multiply-adds by the original's: the ratio that arithmetic alone would give; None where there are none.
        memory: peak memory; None where it was not measured.
    """

    graph: str
    batch: int
    seconds: Spread
    ratio: Spread | None
    macs: int
    bound: float | None
    memory: PeakMemory | None = None

    @property
    def images_per_second(self) -> float:
        """Of the median run."""
        return self.batch / self.seconds.median

    def to_json(self) -> dict[str, Any]:
        """The measurement with its times in milliseconds."""
        times = self.seconds.to_json()
        milliseconds = {
            **{key: 1e3 * times[key] for key in ("median", "p10", "p90")},
            "interval_95": [1e3 * end for end in times["interval_95"]],
        }
        return {
            "graph": self.graph,
            "batch": self.batch,
            "rounds": self.seconds.count,
            "milliseconds": milliseconds,
            "images_per_second": self.images_per_second,
            "ratio": self.ratio.to_json() if self.ratio is not None else None,
            "macs": self.macs,
            "flop_bound": self.bound,
            "peak_memory": self.memory.to_json() if self.memory is not None else None,
        }


@dataclass(frozen=True)
class Series:
    """All graphs and batch sizes on one provider in one precision.

    Attributes:
        provider: `ProviderChoice.to_json()`: requested, used, device, reason.
        precision: "fp32", "fp16", ...
        converted: whether the file was converted to that precision for the measurement.
        size: the image inputs' shape as (name, shape, type), at batch 1 or the batch that the graph fixes.
        size_source: where height and width come from.
        nodes: for each graph the nodes by provider, as ONNX Runtime assigned them; a count is None where it does
            not tell.
        measurements: one for each graph and batch size.
    """

    provider: dict[str, Any]
    precision: str
    converted: bool
    size: tuple[tuple[str, tuple[int, ...], str], ...]
    size_source: str
    nodes: dict[str, dict[str, int | None]]
    measurements: tuple[Measurement, ...]

    def to_json(self) -> dict[str, Any]:
        """The series."""
        return {
            "provider": self.provider,
            "precision": self.precision,
            "converted": self.converted,
            "inputs": [{"name": name, "shape": list(shape), "dtype": kind} for name, shape, kind in self.size],
            "size_source": self.size_source,
            "nodes": self.nodes,
            "measurements": [entry.to_json() for entry in self.measurements],
        }


@dataclass(frozen=True)
class BenchReport:
    """What `bench` found.

    Attributes:
        model: its name.
        verdict: "exact" or "conditional".
        machine: processor, threads, memory, system.
        versions: of the packages that matter.
        method: sentences on how it was measured.
        series: one for each provider and precision.
        interrupted: whether Ctrl-C ended it early.
        position_dependent: whether a head has weights of its own for each position.
        class_token: how far the class token that a head reads is lifted; None where none reads one.
    """

    model: str
    verdict: Verdict
    machine: dict[str, Any]
    versions: dict[str, str]
    method: tuple[str, ...]
    series: tuple[Series, ...]
    interrupted: bool = False
    position_dependent: bool = False
    class_token: ClassTokenMode | None = None

    def to_json(self) -> dict[str, Any]:
        """The report of `bench --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "verdict": self.verdict,
            "position_dependent": self.position_dependent,
            "class_token": True if self.class_token is not None else None,
            "class_token_lift": self.class_token,
            "machine": self.machine,
            "versions": self.versions,
            "method": list(self.method),
            "interrupted": self.interrupted,
            "series": [entry.to_json() for entry in self.series],
        }
