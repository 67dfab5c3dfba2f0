"""A run on a cluster, from the machine that asked: shards are handed out, those of a worker that died once more."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.urls import origins
from onnx_gapmil.files.wording import count
from onnx_gapmil.files.writing import write_whole
from onnx_gapmil.ort.limits import limits_set
from onnx_gapmil.running.shards import CLUSTER, JOURNAL, Shard, require_division
from onnx_gapmil.validation.cluster.connecting import connected, machines_of, require_address, require_ray, said_address
from onnx_gapmil.validation.cluster.layout import lay_out
from onnx_gapmil.validation.cluster.worker import SEEN, Answer, Terms, Worker, versions_here

if TYPE_CHECKING:
    from onnx_gapmil.validation.cluster.jobs import Job, Told
    from onnx_gapmil.validation.cluster.layout import Layout
    from onnx_gapmil.validation.merging import Merged

#: Shards for each worker: what a slow or late one has left at the end is a small part of the whole.
_EACH = 8
#: A batch on the CPU: shards are whole batches, so that more shards than batches would be empty.
_SMALLEST = 16
#: A shard that so many workers died of is given up.
_MOST_DEATHS = 3
_PLAN = "plan.json"
_DETAIL = re.compile(r"exit detail: (.*?)(?= Some common causes|$)")
#: Seconds between two looks, and without a worker until that is said.
_LOOK, _LONG = 0.5, 30.0


@dataclass(frozen=True)
class Reporter:
    """Who is told how a run on a cluster goes.

    Attributes:
        announce: what was decided, as text, once.
        progress: images done, all of them, and how many of those done an earlier run has done.
        note: what else is to be said.
    """

    announce: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int, int], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None


def run_on_ray(
    job: Job, address: str, *, cores: int | None = None, restart: bool = False, reporter: Reporter | None = None
) -> Merged:
    """Run a job on a Ray cluster: its shards one after the other on each worker, then their merge on one of them.

    The shards lie in the result folder until they are merged. A run that was stopped, wherever, goes on where each of
    them was when it is called again with the same arguments, also on another number of machines.

    Args:
        job: what is run.
        address: ``auto`` (a cluster that runs here, else one of this machine alone), ``local``, or ``HOST:PORT``.
        cores: of each worker, on the CPU; those of a machine if None.
        restart: begin anew, whatever is there.
        reporter: who is told how it goes.

    Returns:
        What `merge` gives.

    Raises:
        InputError: Ray is not installed, no cluster answers, a machine lacks the package, the model or the folder;
            and what the verb itself raises.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    require_ray()
    require_address(address)
    home = job.output / CLUSTER
    with watched_reads():
        require_division(job.output, job.results)
        new = not job.output.exists()
        try:
            with locked_folder(home, "another run on Ray"):
                if restart:
                    _clear(home)
                try:
                    with connected(address) as ray:
                        layout = lay_out(machines_of(ray), job.provider, cores)
                        merged = _Run(ray, job, home, layout, reporter or Reporter()).all()
                except BaseException:
                    if not any((folder / JOURNAL).is_dir() for folder in home.iterdir()):
                        _clear(home)  # there is nothing to go on with
                    raise
                _clear(home)
        finally:
            for folder in (home, job.output) if new else (home,):
                with suppress(OSError):  # it holds results or what a later run goes on with, or is gone
                    folder.rmdir()
    return merged


def _clear(home: Path) -> None:
    for entry in home.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@dataclass(frozen=True)
class _Task:
    """What a worker is asked for: the name of its method, and of `Worker.shard` which."""

    name: str
    shard: Shard | None = None

    def __str__(self) -> str:
        return f"shard {self.shard}" if self.shard is not None else _SAID[self.name]


_SAID = {"ready": "its start", "images": "the list of images", "merge": "the merge"}
_READY, _IMAGES, _MERGE = _Task("ready"), _Task("images"), _Task("merge")


class _Run:
    """One run.

    Args:
        ray: connected to the cluster.
        job: what is run.
        home: the folder of the shards.
        layout: of the workers.
        reporter: who is told how it goes.
    """

    def __init__(self, ray: Any, job: Job, home: Path, layout: Layout, reporter: Reporter) -> None:
        self._ray, self._job, self._home, self._layout, self._reporter = ray, job, home, layout, reporter
        seal = uuid.uuid4().hex
        write_whole(home / SEEN, seal.encode())
        terms = Terms(home, seal, Path.cwd(), versions_here(), layout.cores, limits_set(), origins())
        made = ray.remote(Worker).options(num_cpus=layout.cores, num_gpus=layout.gpus, max_concurrency=2)
        self._make: Callable[[], Any] = lambda: made.remote(job, terms)
        self._running: dict[Any, tuple[Any, _Task]] = {}
        self._waiting: deque[_Task] = deque([_IMAGES])
        self._idle: deque[Any] = deque()
        self._deaths: Counter[_Task] = Counter()
        self._shards: tuple[Shard, ...] = ()
        self._finished: dict[Shard, int] = {}
        self._under_way: dict[Shard, int] = {}
        self._before: dict[Shard, int] = {}
        self._total = 0
        self._announced = False
        self._merged: Merged | None = None

    def all(self) -> Merged:
        """From the first worker to the merge; whatever ends it, no worker goes on.

        Raises:
            GapmilError: see `run_on_ray`.
        """
        self._reporter.note(f"Ray at {said_address(self._ray)}: {self._layout.describe()}.")
        since, told = time.monotonic(), False
        try:
            self._start()  # the others when it is known how many have something to do
            while self._merged is None:
                self._hand_out()
                ready, _ = self._ray.wait(list(self._running), timeout=_LOOK)
                for answer in ready:
                    self._take(answer)
                self._look()
                if self._idle or any(task is not _READY for _, task in self._running.values()):
                    since = time.monotonic()
                elif not told and time.monotonic() - since > _LONG:
                    told = True
                    self._reporter.note(f"Waiting for {self._layout.describe()}: the cluster is busy, or is starting.")
            return self._merged
        finally:
            for worker in [*self._idle, *(worker for worker, _ in self._running.values())]:
                with suppress(Exception):  # it is gone
                    self._ray.kill(worker)

    def _start(self) -> None:
        worker = self._make()
        self._running[worker.ready.remote()] = worker, _READY

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            worker, task = self._idle.popleft(), self._waiting.popleft()
            if task.shard is not None:
                asked = worker.shard.remote(task.shard, self._folder(task.shard))
            elif task is _MERGE:
                asked = worker.merge.remote(tuple(map(self._folder, self._shards)))
            else:
                asked = worker.images.remote()
            self._running[asked] = worker, task

    def _folder(self, shard: Shard) -> Path:
        return self._home / str(shard.index)

    def _take(self, answer: Any) -> None:
        """What a worker says when it is done, or that it died."""
        worker, task = self._running.pop(answer)
        errors = self._ray.exceptions
        try:
            found = self._ray.get(answer)
        except errors.RayTaskError as error:  # what no worker raises on purpose
            raise (error.cause or error) from error
        except errors.RayError as error:
            self._died(task, error)
            return
        self._idle.append(worker)
        self._deaths[task] = 0
        if task is _READY:
            if found:
                raise InputError(f"Worker on {self._host(worker)}: {found}.")
            return
        self._heard(found.told, task.shard)
        if found.error is not None:
            raise found.error
        self._finish(task, found)

    def _finish(self, task: _Task, found: Answer) -> None:
        if task is _MERGE:
            self._merged = found.value
        elif task is _IMAGES:
            self._total = found.value
            self._shards = self._plan(found.value)
            self._waiting.extend(_Task("shard", shard) for shard in self._shards)
            for _ in range(min(self._layout.workers, len(self._shards)) - 1):
                self._start()
        elif task.shard is not None:
            self._finished[task.shard] = self._under_way[task.shard] = found.value.done
            self._tell_progress()
            if len(self._finished) == len(self._shards):
                self._waiting.append(_MERGE)

    def _died(self, task: _Task, error: Exception) -> None:
        """A worker is gone: another one does what it was at.

        Raises:
            InputError: it could not even start.
            ModelError: as the ones before it.
        """
        reason = _reason(error)
        if "No module named 'onnx_gapmil'" in str(error):
            raise InputError(
                "A machine of the Ray cluster has no onnx-gapmil: install the same version on all of them, for Ray's "
                "own Python."
            ) from error
        self._deaths[task] += 1
        if self._deaths[task] >= _MOST_DEATHS:
            raise ModelError(
                f"{count(_MOST_DEATHS, 'worker')} died of {task}, one after the other; the last one said: {reason}. "
                "What is done is kept, and the same command goes on."
            ) from error
        self._reporter.note(f"A worker died at {task} ({reason}); another one goes on with it.")
        if task is not _READY:
            self._waiting.appendleft(task)
        self._start()

    def _look(self) -> None:
        """Ask how far the workers are."""
        asked = {worker.told.remote(): task.shard for worker, task in self._running.values() if task.shard is not None}
        if not asked:
            return
        answers, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_LOOK)
        for answer in answers:
            with suppress(self._ray.exceptions.RayError):  # it died, which its task says
                told = self._ray.get(answer)
                shard = asked[answer]
                if shard is not None:
                    self._under_way[shard] = max(told.done, self._under_way.get(shard, 0))
                self._heard(told, shard, notes=False)
        self._tell_progress()

    def _tell_progress(self) -> None:
        done = min(sum(self._under_way.values()), self._total)
        self._reporter.progress(done, self._total, min(sum(self._before.values()), done))

    def _heard(self, told: Told, shard: Shard | None, *, notes: bool = True) -> None:
        if shard is not None and told.conditions:
            self._before.setdefault(shard, told.before)  # of one whose worker died, what was there before this run
        if told.conditions and not self._announced:
            self._announced = True
            self._reporter.announce(told.conditions)
        for note in told.notes if notes else ():
            self._reporter.note(note)

    def _host(self, worker: Any) -> str:
        try:
            return str(self._ray.get(worker.host.remote(), timeout=10))
        except Exception:  # noqa: BLE001  (what it lacks is told all the same)
            return "a machine of the cluster"

    def _plan(self, images: int) -> tuple[Shard, ...]:
        """The shards: as many as an unfinished run in this folder had, else several for each worker."""
        path = self._home / _PLAN
        try:
            total = int(json.loads(path.read_text("utf-8"))["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            total = max(1, min(_EACH * self._layout.workers, -(-images // _SMALLEST)))
            write_whole(path, json.dumps({"shards": total}).encode())
        return tuple(Shard(index, total) for index in range(total))


def _reason(error: Exception) -> str:
    """Of what Ray tells, the sentence that says why."""
    text = " ".join(str(error).split())
    detail = _DETAIL.search(text)
    return (detail[1] if detail else text or type(error).__name__).rstrip(". ")[:300]
