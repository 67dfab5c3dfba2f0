"""What a worker does: Ray makes an actor of it, in a process of its own on whatever machine of the cluster."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.files.libraries import library_versions
from onnx_gapmil.files.urls import note_origin, said
from onnx_gapmil.ort.cpu import use_threads
from onnx_gapmil.ort.limits import set_memory, set_seconds
from onnx_gapmil.running.pipeline.tuning import tune_process
from onnx_gapmil.validation.cluster.jobs import Told
from onnx_gapmil.validation.merging import Merged, merge
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    from onnx_gapmil.running.shards import Shard, ShardResult
    from onnx_gapmil.validation.cluster.jobs import Job

#: In the folder of the shards: what tells whether a worker sees that very folder.
SEEN = "run"


#: What helps where a copy lies on one machine alone.
_SHARE_CACHE = "; set XDG_CACHE_HOME to a folder that all machines share"


@dataclass(frozen=True)
class Terms:
    """What every worker has to find, and to keep to.

    Attributes:
        home: the folder of the shards.
        seal: what the file `SEEN` in it holds.
        folder: that paths are relative to.
        versions: of this package and of what results hang on.
        threads: of each worker.
        limits: seconds and bytes that looking at a model may take.
        origins: the URLs that files and folders stand for, by their paths.
    """

    home: Path
    seal: str
    folder: Path
    versions: tuple[tuple[str, str], ...]
    threads: int
    limits: tuple[float | None, int | None]
    origins: dict[str, str] = field(default_factory=dict)


def versions_here() -> tuple[tuple[str, str], ...]:
    """Of what results hang on, by name."""
    return ("onnx-gapmil", __version__), ("libraries", library_versions())


@dataclass(frozen=True)
class Answer:
    """Of a worker.

    Attributes:
        value: what came of it; None where that failed.
        error: why it failed.
        told: of the shard.
    """

    value: Any = None
    error: GapmilError | None = None
    told: Told = field(default_factory=Told)


class Worker:
    """Does what it is given, one thing after the other; `told` may be asked for meanwhile.

    Args:
        job: what all workers do together.
        terms: what it has to find.
    """

    def __init__(self, job: Job, terms: Terms) -> None:
        self._job, self._terms, self._told = job, terms, Told()

    def ready(self) -> str:
        """Get ready; what is in the way, as a sentence that follows the machine's name, else ""."""
        terms = self._terms
        for path, url in terms.origins.items():
            note_origin(Path(path), url)
        try:
            os.chdir(terms.folder)
        except OSError:
            given = (*self._job.files, terms.home)
            if any(not path.is_absolute() for path in given):
                return f"it has no folder {terms.folder}, to which paths are relative; name them from the root (/...)"
        for (what, here), (_, there) in zip(versions_here(), terms.versions, strict=True):
            if here != there:
                return f"it has {what} {here} where this machine has {there}; install the same on all"
        if missing := next((path for path in self._job.files if not path.exists()), None):
            if said(missing) != str(missing):
                return f"it does not see {missing}, the copy of {said(missing)}{_SHARE_CACHE}"
            return f"it does not see {missing}; put models and data where all machines have them under one path"
        try:
            seen = (terms.home / SEEN).read_text("utf-8") == terms.seal
        except OSError:
            seen = False
        if not seen:
            if said(terms.home) != str(terms.home):
                return f"it does not see {terms.home}, where results are made{_SHARE_CACHE}"
            return f"it does not see {terms.home}; name a folder of results (-o) that all machines share"
        use_threads(terms.threads)
        set_seconds(terms.limits[0])
        set_memory(terms.limits[1])
        tune_process()
        return ""

    def images(self) -> Answer:
        """How many the run has."""
        return self._answer(self._job.images)

    def shard(self, shard: Shard, folder: Path) -> Answer:
        """Do a shard, or what is left of it."""
        self._told = Told()

        def work() -> ShardResult:
            return self._job.run(folder, shard, self._told)

        return self._answer(work)

    def merge(self, folders: tuple[Path, ...]) -> Answer:
        """Put the shards together."""
        notes: list[str] = []
        self._told = Told(notes=notes)

        def work() -> Merged:
            job = self._job
            return merge(
                folders,
                job.output,
                gallery=job.gallery,
                page_classes=job.page_classes,
                asked=job.asked,
                note=notes.append,
            )

        return self._answer(work)

    def told(self) -> Told:
        """How far it is."""
        return self._told

    def host(self) -> str:
        """Where it runs."""
        return platform.node() or "?"

    def _answer(self, work: Callable[[], Any]) -> Answer:
        try:
            return Answer(work(), told=self._told)
        except GapmilError as error:
            return Answer(error=error, told=self._told)
