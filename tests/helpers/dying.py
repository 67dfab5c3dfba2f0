"""An audit on a cluster whose workers die in the middle of a shard, as often as they are told."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.validation.cluster.jobs import AuditJob, Told

if TYPE_CHECKING:
    from onnx_gapmil.running.shards import Shard, ShardResult


class _Watched(Told):
    """Kills its process once so many images of a shard are done."""

    def arm(self, at: int, graves: Path) -> None:
        self.__dict__["fatal"] = (at, graves)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        at, graves = self.__dict__.get("fatal", (None, None))
        if name == "done" and at is not None and isinstance(value, int) and value >= at:
            (graves / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class DyingJob(AuditJob):
    """As `AuditJob`, but a worker kills itself, by SIGKILL, where `images` of a shard are done.

    Args:
        graves: a folder where each that does so leaves its process's number.
        deaths: how many do.
        after: images of the shard, at the least.
    """

    graves: Path = field(kw_only=True)
    deaths: int = field(kw_only=True)
    after: int = field(kw_only=True)

    def run(self, folder: Path, shard: Shard, told: Told) -> ShardResult:
        """See `AuditJob`."""
        watched = _Watched()
        if len(list(self.graves.iterdir())) < self.deaths:
            watched.arm(self.after, self.graves)
        try:
            return super().run(folder, shard, watched)
        finally:
            told.done, told.before, told.conditions, told.notes = (
                watched.done,
                watched.before,
                watched.conditions,
                watched.notes,
            )
