"""What the verbs say of a shard that is finished, of shards put together, and of a run on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import print_json
from onnx_gapmil.cli.output import say, say_document, tell
from onnx_gapmil.cli.progress import Teller
from onnx_gapmil.files.wording import count, of_are

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.running.shards import Shard, ShardResult
    from onnx_gapmil.validation.cluster.jobs import Job
    from onnx_gapmil.validation.merging import Merged


def say_shard(result: ShardResult, done: str, *, as_json: bool) -> int:
    """Say that a shard is finished.

    Args:
        result: the shard.
        done: what the verb did to its images: "measured".
        as_json: as JSON on stdout.

    Returns:
        The exit code.
    """
    if as_json:
        print_json(result.to_json())
        return 0
    failed = f", {count(result.failed, 'image')} kept out" if result.failed else ""
    images = count(result.images, "image")
    say(f"Shard {result.shard}: {done} {result.done:,} of {images}{failed}; in {result.folder}/.")
    say("When all shards are: onnx-gapmil merge with the folders of all, in any order, and -o for the whole.")
    return 0


def say_merged(merged: Merged, output: Path, *, as_json: bool) -> int:
    """Say what shards were put together to, as the verb itself would.

    Args:
        merged: what they are now.
        output: the folder of the whole.
        as_json: as JSON on stdout.

    Returns:
        The exit code.
    """
    from onnx_gapmil.auditing.summary import AuditSummary
    from onnx_gapmil.auditing.text import audit_note
    from onnx_gapmil.prediction.merging import MergedPredictions
    from onnx_gapmil.show.terminal.console import console
    from onnx_gapmil.validation.comparing.text import compare_note

    found = merged.result
    if isinstance(found, MergedPredictions):
        if as_json:
            say_document(found.text())
        else:
            say(f"{found.done:,} of {count(found.images, 'photo')} done; in {output}/: {', '.join(found.written)}")
        for sentence in found.left_out:
            tell(f"Note: {sentence}")
        return 2 if found.failed or found.left_out else 0
    if as_json:
        print_json(found.to_json())
    elif isinstance(found, AuditSummary):
        console().print(audit_note(found, output, dict(enumerate(merged.names))))
    else:
        console().print(compare_note(found, output))
    return 0


def run_job(
    job: Job, address: str, *, cores: int | None, shard: Shard | None, restart: bool, done: str, as_json: bool
) -> int:
    """Run a job on a Ray cluster and say what came of it.

    Args:
        job: what is run.
        address: of the cluster.
        cores: of each worker; None decides.
        shard: as it was asked for, which a run on a cluster has no room for.
        restart: begin anew.
        done: what the verb does to images: "measured".
        as_json: as JSON on stdout.

    Returns:
        The exit code.

    Raises:
        InputError: see `run_on_ray`.
    """
    if shard is not None:
        raise click.UsageError("--ray makes shards of its own: give --ray or --shard, not both.")
    from onnx_gapmil.running.shards import CLUSTER
    from onnx_gapmil.validation.cluster.running import Reporter, run_on_ray

    teller = Teller()
    teller.begin_in(job.output, job.results)

    def progress(reached: int, total: int, before: int) -> None:
        if not teller.total:
            teller.begin("", 0, total)
        teller.take_over(before)
        teller.reach(reached)

    reporter = Reporter(lambda said: tell(said + "\n"), progress, teller.note)
    try:
        with teller:
            merged = run_on_ray(job, address, cores=cores, restart=restart, reporter=reporter)
    except KeyboardInterrupt:
        if teller.done:
            tell(f"{of_are(teller.done, teller.total, 'image')} {done}: the same command goes on.")
        elif (job.output / CLUSTER).is_dir():
            tell("What the workers had done is kept: the same command goes on.")
        raise
    return say_merged(merged, job.output, as_json=as_json)
