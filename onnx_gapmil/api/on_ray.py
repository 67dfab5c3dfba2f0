"""A verb on a Ray cluster, as the functions of the library ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.validation.cluster.running import Reporter, run_on_ray

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.running.shards import Shard
    from onnx_gapmil.validation.cluster.jobs import Job
    from onnx_gapmil.validation.merging import Merged


def run_job(
    job: Job,
    address: str,
    cores: int | None,
    shard: Shard | str | None,
    *,
    restart: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Run a job.

    Args:
        job: what is run.
        address: of the cluster.
        cores: of each worker.
        shard: as it was asked for; a run on a cluster makes its own.
        restart: begin anew.
        progress: is told images done and all images.

    Raises:
        InputError: see `run_on_ray`; or a shard was asked for.
    """
    if shard is not None:
        raise InputError("A run on Ray makes shards of its own: give ray or shard, not both.")
    told = progress if progress is not None else lambda _done, _total: None
    reporter = Reporter(progress=lambda done, total, _: told(done, total))
    return run_on_ray(job, address, cores=cores, restart=restart, reporter=reporter)
