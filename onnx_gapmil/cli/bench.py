"""``onnx-gapmil bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.failure import INTERRUPTED
from onnx_gapmil.cli.options import (
    WRITTEN_FILE,
    class_token_option,
    head_option,
    json_option,
    model_argument,
    print_json,
    verb_options,
)
from onnx_gapmil.cli.output import is_quiet, say
from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from onnx_gapmil.benchmarking.plan import BenchPlan
    from onnx_gapmil.benchmarking.results import BenchReport
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish


@click.command(name="bench")
@verb_options(
    model_argument,
    head_option("to measure"),
    class_token_option,
    click.option("--batch", metavar="N,N,...", help="Batch sizes. Default: 1,8, or the one that the graph fixes."),
    click.option(
        "--provider",
        metavar="NAME,...",
        help="Where to run: cpu, cuda, tensorrt, ... Default: cpu, and cuda where it works. A provider named here that "
        "is not really used is an error.",
    ),
    click.option(
        "--emit",
        "emissions",
        multiple=True,
        metavar="WHAT",
        help="What a rewritten graph gives, as in rewrite --emit; once for each graph to measure. Default: "
        "features,grid; grid; topk:5; argmax.",
    ),
    click.option(
        "--precision",
        metavar="fp32,fp16",
        help="Default: the file as it is. fp16 converts a float32 file in memory, with ONNX Runtime's own converter, "
        "for the measurement only.",
    ),
    click.option(
        "--size",
        metavar="HxW",
        help="Height and width of the input, in pixels; a graph that fixes others is opened for them.",
    ),
    click.option(
        "--seconds",
        type=float,
        default=5.0,
        show_default=True,
        help="How long to measure each batch size, all graphs together; never fewer than 7 rounds.",
    ),
    click.option("--no-memory", is_flag=True, help="Leave peak memory out: it takes a fresh process for each graph."),
    json_option,
    click.option("-o", "--output", type=WRITTEN_FILE, metavar="FILE", help="Write the JSON to this file too."),
)
def command(
    model: Path,
    head: str | None,
    class_token: ClassTokenWish | None,
    batch: str | None,
    provider: str | None,
    emissions: tuple[str, ...],
    precision: str | None,
    size: str | None,
    seconds: float,
    no_memory: bool,
    as_json: bool,
    output: Path | None,
) -> int:
    """Measure what the prediction grid of MODEL costs on this machine.

    Original and rewritten graphs run in turn, so that the ratio holds on a busy machine too; beside it stands the FLOP
    bound, which arithmetic alone would cost. Ctrl-C ends it and prints what was measured.
    """
    from onnx_gapmil.benchmarking.plan import EMISSIONS, BenchPlan, parse_batches, parse_words
    from onnx_gapmil.lift.tokens.modes import CHANGES_NOTHING
    from onnx_gapmil.rewriting.sizing.record import parse_size

    plan = BenchPlan(
        emissions=tuple(dict.fromkeys(emission.strip() for emission in emissions)) or EMISSIONS,
        batches=parse_batches(batch),
        providers=parse_words(provider),
        precisions=parse_words(precision),
        size=parse_size(size),
        seconds=seconds,
        memory=not no_memory,
        head=head,
        class_token=class_token,
    )
    _require_place(output)
    report = _measured(model, plan)
    if output is not None:
        from onnx_gapmil.files.json_text import json_text
        from onnx_gapmil.files.writing import write_whole

        write_whole(output, (json_text(report.to_json(), indent=2) + "\n").encode())
    if as_json:
        print_json(report.to_json())
    else:
        from onnx_gapmil.benchmarking.text import bench_note
        from onnx_gapmil.show.terminal.console import console

        console().print(bench_note(report))
    if class_token is not None and report.class_token is None and not as_json:
        say(f"note: {CHANGES_NOTHING}.")
    if report.interrupted:
        say("Interrupted.", err=True)
    return INTERRUPTED if report.interrupted else 0


def _measured(model: Path, plan: BenchPlan) -> BenchReport:
    """Measure, with a line on a terminal's stderr that says what is going on."""
    from onnx_gapmil.benchmarking.benchmark import bench

    if is_quiet() or not sys.stderr.isatty():
        return bench(model, plan)
    report = bench(model, plan, lambda line: click.echo(f"\r\x1b[K{line} ...", err=True, nl=False))
    click.echo("\r\x1b[K", err=True, nl=False)
    return report


def _require_place(output: Path | None) -> None:
    """Say before the measuring, which takes minutes, that its result could not be written."""
    if output is None:
        return
    if output.is_dir():
        raise InputError(f"{output} is a folder; name the file to write.")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent} is no folder; make it first, or choose another place for the JSON.")
