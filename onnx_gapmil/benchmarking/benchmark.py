"""`bench`: the original against its rewritten graphs, by provider, precision and batch size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onnx_gapmil.benchmarking.inputs import InputSize, bench_inputs, choose_size, fixed_batch, with_size
from onnx_gapmil.benchmarking.machine import machine, versions
from onnx_gapmil.benchmarking.memory import HOW, HOW_DEVICE, PeakMemory, peak_memory
from onnx_gapmil.benchmarking.plan import BATCHES, EMISSIONS, BenchPlan
from onnx_gapmil.benchmarking.precision import precision_of, to_half
from onnx_gapmil.benchmarking.results import BenchReport, Measurement, Series
from onnx_gapmil.benchmarking.runs import ON_DEVICE, BoundRun
from onnx_gapmil.benchmarking.timing import FEWEST, Spread, interleave, ratios
from onnx_gapmil.benchmarking.variants import Variant, added_share, build_variants
from onnx_gapmil.errors import InputError
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, load_model
from onnx_gapmil.graph.view import ModelGraph
from onnx_gapmil.ort.providers import ProviderChoice, choose_providers, cuda_status
from onnx_gapmil.ort.session import nodes_per_provider
from onnx_gapmil.rewriting.record import token_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from onnx_gapmil.graph.inputs import InputShape
    from onnx_gapmil.rewriting.result import Rewrite

    Progress = Callable[[str], object]

METHOD = (
    "Each round runs every graph once, in turn (A B C A B C ...), after warm-up rounds, with the garbage collector "
    "off, one session for each graph, random inputs bound beforehand, outputs in host memory.",
    "Ratio: median over rounds of a graph's time by the original's in the same round, with the 95 % interval of that "
    "median. Times: median, 10th to 90th percentile.",
    "FLOP bound: multiply-adds of Conv, Gemm, MatMul and their like in the graph, by those of the original.",
)


@dataclass(frozen=True)
class _Prepared:
    """One precision, ready to be measured."""

    precision: str
    converted: bool
    variants: tuple[Variant, ...]
    size: InputSize
    inputs: dict[int, tuple[InputShape, ...]]  # by batch size
    macs: dict[str, tuple[int, float | None]]  # by variant: multiply-adds, and by the original's
    rewritten: Rewrite  # the first of them


def bench(model: ModelSource, plan: BenchPlan | None = None, progress: Progress | None = None) -> BenchReport:
    """Measure what a model's prediction grid costs on this machine.

    Ctrl-C ends the measuring: the report then has what was measured so far.

    Args:
        model: the vendor's model, not rewritten.
        plan: what to measure.
        progress: called with a line on what comes next.

    Raises:
        InputError: the plan does not fit the model; the model was rewritten before; it cannot be converted.
        ModelError: the model cannot be read or run.
        ProviderError: a provider was asked for by name and is not really used.
        UnsupportedHeadError: no output has a head that can be lifted.
        KeyboardInterrupt: before anything was measured.
    """
    plan, progress = plan or BenchPlan(), progress or _unheard
    choices = _choices(plan.providers)
    source = with_size(load_model(model), plan.size)
    progress("rewriting")
    prepared = [_prepare(source, plan, precision) for precision in plan.precisions or (None,)]
    kept: list[_Collected] = []
    interrupted = False
    try:
        for choice in choices:
            for entry in prepared:
                collected = _Collected(choice, entry)
                kept.append(collected)
                collected.measure(plan, progress)
    except KeyboardInterrupt:
        interrupted = True
        if not any(collected.measurements for collected in kept):
            raise
    used = {choice.used for choice in choices}
    rewritten = prepared[0].rewritten
    memory = (HOW, *([HOW_DEVICE] if used & set(ON_DEVICE) else [])) if plan.memory else ()
    return BenchReport(
        model=source.name,
        verdict=rewritten.verdict,
        machine=machine(),
        versions=versions(),
        method=(*METHOD, *memory),
        series=tuple(collected.series() for collected in kept if collected.measurements),
        interrupted=interrupted,
        position_dependent=rewritten.position_dependent,
        class_token=token_mode(rewritten.heads),
    )


def _unheard(line: str) -> None:
    """Tell nobody."""


def _choices(wanted: tuple[str, ...]) -> list[ProviderChoice]:
    """The providers to measure on, each really usable; by default the CPU, and CUDA where it works."""
    if not wanted:
        wanted = ("cpu", "cuda") if cuda_status().problem is None else ("cpu",)
    found = {choice.used: choice for choice in map(choose_providers, wanted)}  # "auto" may be one that is named too
    return list(found.values())


def _prepare(source: LoadedModel, plan: BenchPlan, wanted: str | None) -> _Prepared:
    """Convert, rewrite, choose the inputs and count, for one precision (None: as the file is)."""
    precision = precision_of(source.proto)
    converted = wanted == "fp16" and precision != "fp16"
    if wanted == "fp32" and precision != "fp32":
        raise InputError(f"--precision fp32: {source.name} is {precision} and is measured as it is; leave it out.")
    model = replace(source, proto=to_half(source.proto, source.folder, source.name)) if converted else source
    variants, traced, rewritten = build_variants(
        model, plan.emissions, fitting=plan.emissions == EMISSIONS, head=plan.head, class_token=plan.class_token
    )
    graph = ModelGraph(model.proto, model.folder)
    size = choose_size(graph, source, traced, plan.size)
    only = fixed_batch(traced)
    batches = plan.batches or ((only,) if only is not None else BATCHES)
    inputs = {batch: bench_inputs(graph, batch, size.size, source.name) for batch in batches}
    counted = bench_inputs(graph, only or 1, size.size, source.name)
    return _Prepared(
        "fp16" if converted else precision,
        converted,
        variants,
        size,
        inputs,
        added_share(variants, counted),
        rewritten,
    )


class _Collected:
    """What was measured on one provider in one precision so far.

    Args:
        choice: the provider.
        prepared: the graphs.
    """

    def __init__(self, choice: ProviderChoice, prepared: _Prepared) -> None:
        self._choice, self._prepared = choice, prepared
        self._nodes: dict[str, dict[str, int | None]] = {}
        self.measurements: list[Measurement] = []

    def measure(self, plan: BenchPlan, progress: Progress) -> None:
        """Measure all batch sizes.

        Raises:
            KeyboardInterrupt: Ctrl-C; `measurements` has what was complete.
        """
        sessions = []
        for variant in self._prepared.variants:
            progress(f"{self._where()}: loading {variant.name}")
            session = variant.session(self._choice)
            self._nodes[variant.name] = nodes_per_provider(session)
            sessions.append(session)
        for batch in self._prepared.inputs:
            self.measurements.extend(self._batch(sessions, batch, plan, progress))

    def series(self) -> Series:
        """What was found."""
        prepared = self._prepared
        first = next(iter(prepared.inputs.values()))
        return Series(
            provider=self._choice.to_json(),
            precision=prepared.precision,
            converted=prepared.converted,
            size=tuple((entry.name, entry.traced, entry.dtype.name) for entry in first),
            size_source=prepared.size.source,
            nodes=self._nodes,
            measurements=tuple(self.measurements),
        )

    def _batch(self, sessions: list[Any], batch: int, plan: BenchPlan, progress: Progress) -> Iterator[Measurement]:
        """Time every graph at one batch size, then read its peak memory."""
        variants, inputs = self._prepared.variants, self._prepared.inputs[batch]
        progress(f"{self._where()}: batch {batch}, {len(variants)} graphs in turn")
        runs = [
            BoundRun(session, inputs, variant.outputs, self._choice.used, f"{variant.name!r} at batch {batch}")
            for variant, session in zip(variants, sessions, strict=True)
        ]
        times, interrupted = interleave(runs, seconds=plan.seconds)
        if len(times[0]) < FEWEST:
            raise KeyboardInterrupt
        del runs
        for variant, taken in zip(variants, times, strict=True):
            memory = None
            if plan.memory and not interrupted:
                progress(f"{self._where()}: batch {batch}, memory of {variant.name}")
                try:
                    memory = peak_memory(variant, self._choice.used, inputs)
                except KeyboardInterrupt:
                    interrupted = True
            yield self._measurement(variant, batch, taken, times[0], memory)
        if interrupted:
            raise KeyboardInterrupt

    def _measurement(
        self, variant: Variant, batch: int, taken: list[float], reference: list[float], memory: PeakMemory | None
    ) -> Measurement:
        macs, bound = self._prepared.macs[variant.name]
        return Measurement(
            graph=variant.name,
            batch=batch,
            seconds=Spread.of(taken),
            ratio=ratios(taken, reference) if taken is not reference else None,
            macs=macs,
            bound=bound,
            memory=memory,
        )

    def _where(self) -> str:
        return f"{self._choice.used}, {self._prepared.precision}"
