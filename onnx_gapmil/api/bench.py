"""`bench`: what the grid costs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.benchmarking.benchmark import bench as run_bench

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from onnx_gapmil.benchmarking.plan import BenchPlan
    from onnx_gapmil.benchmarking.results import BenchReport


def bench(model: str | Path | onnx.ModelProto, plan: BenchPlan | None = None) -> BenchReport:
    """Measure what the prediction grid of a model costs on this machine: time, memory and multiply-adds.

    Original and rewritten graphs run in turn, so that the ratio holds on a busy machine too. Ctrl-C ends it, and the
    report has what was measured until then.

    Args:
        model: the vendor's model, not rewritten.
        plan: what to measure: emissions, batch sizes, providers, precisions, for how long.

    Raises:
        InputError: the plan does not fit the model, or the model was rewritten before.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    return run_bench(model, plan)
