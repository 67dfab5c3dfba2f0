"""How far a run over many photos is, and how fast: a bar on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from onnx_gapmil.cli.output import say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress


class PhotoProgress:
    """Counts photos on stderr.

    Args:
        total: photos to come.
        shown: False shows nothing at all.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total = total
        self._shown = shown
        self._done = 0
        self._start = time.perf_counter()
        self._bar: Progress | None = _bar() if shown and sys.stderr.isatty() else None

    def __enter__(self) -> PhotoProgress:
        self._start = time.perf_counter()
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task("photos", total=self._total, rate="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._shown and self._done and kind is None:
            seconds = time.perf_counter() - self._start
            say(f"{self._done} photos in {seconds:.1f} s, {self._done / seconds:.1f} photos/s", err=True)

    def advance(self) -> None:
        """One photo more is done."""
        self._done += 1
        if self._bar is not None:
            rate = self._done / max(time.perf_counter() - self._start, 1e-9)
            self._bar.update(self._bar.task_ids[0], completed=self._done, rate=f"{rate:.1f} photos/s")

    def say(self, message: str) -> None:
        """A line on stderr, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(message, markup=False, highlight=False, soft_wrap=True)
        else:
            say(message, err=True)


class Teller(contextlib.ExitStack):
    """Says on stderr what a run over a data set has decided, then how far it is.

    Attributes:
        done: images that are done, those of earlier runs included.
        total: images of the data set.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: PhotoProgress | None = None
        self.done = 0
        self.total = 0

    def begin(self, conditions: RenderableType, done: int, total: int) -> None:
        """Before the first image."""
        from onnx_gapmil.show.terminal.notes import console

        console(stderr=True).print(conditions)
        self.done, self.total = done, total
        self._bar = self.enter_context(PhotoProgress(total - done, shown=True))

    def reach(self, done: int) -> None:
        """After every batch."""
        if self._bar is not None:
            for _ in range(done - self.done):
                self._bar.advance()
        self.done = done


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
    )
