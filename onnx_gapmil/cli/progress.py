"""How far a run over many photos is, and how fast: a bar on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from onnx_gapmil.cli.output import is_quiet, say, tell
from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import count, percent, plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.progress import Progress


class PhotoProgress:
    """Counts photos on stderr: a bar on a terminal, a line every tenth elsewhere, and their number at the end.

    Args:
        total: photos of the run.
        shown: False shows nothing at all, as ``--quiet`` does.
        what: they are called.
        before: how many of them an earlier run has done.
    """

    def __init__(self, total: int, *, shown: bool, what: str = "photo", before: int = 0) -> None:
        self._total = total
        self._shown = shown and not is_quiet()
        self._what = what
        self._done = self._before = before
        self._tenths = self._tenth()
        self._start = self._told = time.perf_counter()
        self._bar: Progress | None = _bar() if self._shown and sys.stderr.isatty() else None

    def __enter__(self) -> PhotoProgress:
        self._start = self._told = time.perf_counter()
        if self._bar is not None:
            self._bar.start()
            self._bar.add_task(plural(self._what), total=self._total, completed=self._done, rate="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._shown and self._done > self._before and kind is None:
            seconds = time.perf_counter() - self._start
            say(f"{count(self._done - self._before, self._what)} in {seconds:.1f} s, {self._rate()}", err=True)

    def advance(self, by: int = 1) -> None:
        """So many photos more are done."""
        self._done += by
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, rate=self._rate())
        elif self._shown:
            self._tell_tenth()

    def take_over(self, before: int) -> None:
        """So many of all that are done were done by an earlier run, which says nothing of how quick this one is."""
        more, self._before = before - self._before, before
        self.advance(more)

    def say(self, message: str) -> None:
        """A line on stderr, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(visible(message), markup=False, highlight=False, soft_wrap=True)
        else:
            say(message, err=True)

    def _tell_tenth(self) -> None:
        """A line where another tenth is done; the last one is the line at the end."""
        tenths = self._tenth()
        now = time.perf_counter()
        if tenths == self._tenths or self._done >= self._total:
            return
        self._tenths = tenths
        if self._total >= _MANY or now - self._told >= _LONG:
            self._told = now
            share = percent(self._done / self._total, 0)
            say(f"{self._done:,} of {count(self._total, self._what)}, {share}, {self._rate()}", err=True)

    def _tenth(self) -> int:
        return 10 * self._done // max(self._total, 1)

    def _rate(self) -> str:
        return (
            f"{(self._done - self._before) / max(time.perf_counter() - self._start, 1e-9):.1f} {plural(self._what)}/s"
        )


#: So many photos are told by tenths, however quick they are; of fewer each tenth that takes so many seconds.
_MANY, _LONG = 20, 2.0


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
        self._taken = 0

    def begin_in(self, folder: Path, names: Sequence[str]) -> None:
        """Say what an earlier run left in the result folder, which stays there until this one ends."""
        there = [name for name in names if (folder / name).is_file()]
        if there:
            tell(f"Note: {', '.join(there)} in {folder}/ are of an earlier run until this one ends and replaces them.")

    def begin(self, conditions: RenderableType, done: int, total: int) -> None:
        """Before the first image."""
        from onnx_gapmil.show.terminal.console import console

        if not is_quiet():
            console(stderr=True).print(conditions)
        self.done, self.total = done, total
        self._bar = self.enter_context(PhotoProgress(total, shown=True, before=done))

    def note(self, text: str) -> None:
        """What has changed since an earlier run."""
        tell(text)

    def take_over(self, before: int) -> None:
        """So many are known to be done by an earlier run."""
        if self._bar is not None and before > self._taken:
            self._bar.take_over(before)
            self.done += before - self._taken
            self._taken = before

    def reach(self, done: int) -> None:
        """After every batch."""
        if self._bar is not None and done > self.done:
            self._bar.advance(done - self.done)
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
