"""How many workers a cluster has room for, and what each of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.wording import count

#: Providers that need a GPU of NVIDIA's.
_NVIDIA = frozenset({"cuda", "tensorrt", "nvtensorrtrtx"})
#: The share of all cores that is worth smaller groups.
_BUSY = 0.9


@dataclass(frozen=True)
class Machine:
    """What a machine of the cluster offers.

    Attributes:
        cores: for workers.
        gpus: likewise.
    """

    cores: int
    gpus: int = 0


@dataclass(frozen=True)
class Layout:
    """The workers.

    Attributes:
        workers: how many.
        cores: of each, which are as many threads.
        gpus: of each, 0 or 1.
    """

    workers: int
    cores: int
    gpus: int = 0

    def describe(self) -> str:
        """``4 workers, each of 8 cores and a GPU``."""
        each = f"{count(self.cores, 'core')}{' and a GPU' if self.gpus else ''}"
        return f"{count(self.workers, 'worker')}{', each' if self.workers > 1 else ''} of {each}"


def lay_out(machines: Sequence[Machine], provider: str, cores: int | None = None) -> Layout:
    """Divide a cluster: a worker for each GPU, where there are any and the provider may use them; else one for each
    group of cores.

    All workers have equally many threads, since the numbers of a batch may hang on them in their last digits. A group
    is a whole machine; where machines differ, the largest of them whose size leaves at most a tenth of all cores idle.

    Args:
        machines: of the cluster.
        provider: as it was asked for.
        cores: of each worker; None decides.

    Raises:
        InputError: there is no machine for a single worker.
    """
    if not any(machine.cores for machine in machines):
        raise InputError(
            f"The Ray cluster offers no cores ({count(len(machines), 'machine')}); add machines that do, or start it "
            "with --num-cpus above 0."
        )
    with_gpu = [machine for machine in machines if machine.gpus]
    if with_gpu and provider != "cpu":
        share = cores or max(1, min(machine.cores // machine.gpus for machine in with_gpu))
        workers = sum(min(machine.gpus, machine.cores // share) for machine in with_gpu)
        gpus = 1
    elif provider in _NVIDIA:
        raise InputError(f"--provider {provider}: the Ray cluster has no GPU among {count(len(machines), 'machine')}.")
    else:
        share = cores or _group([machine.cores for machine in machines])
        workers = sum(machine.cores // share for machine in machines)
        gpus = 0
    if not workers:
        most = max(machine.cores for machine in machines)
        raise InputError(f"No machine of the Ray cluster has the {count(share, 'core')} of a worker; {most} at most.")
    return Layout(workers, share, gpus)


def _group(cores: Sequence[int]) -> int:
    """The size of a group of cores, given those of each machine."""
    sizes = sorted({each for each in cores if each}, reverse=True)
    busy = {size: sum(each // size * size for each in cores) for size in sizes}
    return next((size for size in sizes if busy[size] >= _BUSY * sum(cores)), max(sizes, key=lambda size: busy[size]))
