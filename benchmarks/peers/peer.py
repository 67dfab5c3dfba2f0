"""What every peer speaks with ``__main__.py``: JSON lines, rounds that alternate with plain inference, and memory.

A peer answers these requests, one JSON line each (``zoo/protocol.py`` reads and writes them):

- ``{"do": "versions"}``: the packages that it measures.
- ``{"do": "open", "size", "batch", "threads", "clock"}``: load the shared ResNet-50 and warm up; names its variants,
  and those that cannot do the case, each with the reason. The clock is the ``wall`` or the process' ``cpu`` time.
- ``{"do": "round"}``: run each variant once, between two runs of plain inference; milliseconds and ratios.
- ``{"do": "maps", "model", "file"}``: the maps of that model's image, in ``file`` (npz).
- ``{"do": "head", "model"}``: what it makes of that head.
- ``{"do": "memory", "size", "threads", "variant"}``: peak memory of this process after some runs of it alone.

Peers run in environments of their own: nothing here needs more than NumPy.
"""

from __future__ import annotations

import logging
import resource
import time
import warnings
from abc import ABC, abstractmethod
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.zoo.protocol import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Array = npt.NDArray[Any]

PLAIN = "plain"
#: The class that the variants for one class explain.
ONE_CLASS = 7
#: What one may say of a map whose class is known: values of all heads in `models.HEADS` have so many classes.
HEAD_CLASSES = 10
WARM_UP = 2
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class CannotError(Exception):
    """This peer does not do this case; the message says why."""


class Peer(ABC):
    """One tool beside its own framework's plain inference.

    Attributes:
        packages: distributions whose versions are shown.
    """

    packages: tuple[str, ...]

    def __init__(self) -> None:
        self._runs: dict[str, Callable[[], Any]] = {}
        self._turn = 0
        self._clock = time.perf_counter

    @abstractmethod
    def variants(self, batch: int) -> tuple[str, ...]:
        """The ways of asking for maps that are measured at this batch size."""

    @abstractmethod
    def prepare(self, folder: Path, variant: str, images: Array, threads: int) -> Callable[[], Any]:
        """Load the ResNet-50 for a variant (or `PLAIN`); what is returned runs it once on the images.

        Raises:
            CannotError: the tool does not do it.
        """

    @abstractmethod
    def maps(self, folder: Path, model: str) -> dict[str, Array]:
        """The tool's maps of a model's image, by what they are called in the comparison."""

    @abstractmethod
    def head(self, folder: Path, model: str) -> dict[str, Any]:
        """What becomes of a head: ``{"answer": "map" | "refused" | "failed", ...}``."""

    def serve(self) -> None:
        """Answer requests until standard input ends."""
        main(list, self._answer)

    def _answer(self, request: dict[str, Any], folder: Path) -> dict[str, Any]:
        match request["do"]:
            case "versions":
                return {"versions": {name: version(name) for name in self.packages}}
            case "open":
                self._clock = CLOCKS[request["clock"]]
                return self._open(folder, request["size"], request["batch"], request["threads"])
            case "round":
                return self._round()
            case "maps":
                np.savez(folder / request["file"], **self.maps(folder, request["model"]))
                return {}
            case "head":
                with recorded() as said:
                    found = self.head(folder, request["model"])
                return {**found, "said": said}
            case "memory":
                return self._memory(folder, request["size"], request["threads"], request["variant"])
            case other:
                raise ValueError(f"no such request: {other}")

    def _open(self, folder: Path, size: int, batch: int, threads: int) -> dict[str, Any]:
        images = case_images(size, batch)
        self._runs, self._turn = {}, 0
        cannot = {}
        for name in (PLAIN, *self.variants(batch)):
            try:
                run = self.prepare(folder, name, images, threads)
                for _ in range(WARM_UP):
                    run()
            except CannotError as error:
                cannot[name] = str(error)
            else:
                self._runs[name] = run
        return {"variants": [name for name in self._runs if name != PLAIN], "cannot": cannot}

    def _round(self) -> dict[str, Any]:
        """Each variant between two runs of plain inference, which it is compared with; the order moves on by one."""
        names = [name for name in self._runs if name != PLAIN]
        if not names:
            return {"plain": [], "with_maps": {}, "ratio": {}}
        start = self._turn % len(names)
        self._turn += 1
        plain = [self._milliseconds(self._runs[PLAIN])]
        with_maps, ratio = {}, {}
        for name in names[start:] + names[:start]:
            with_maps[name] = self._milliseconds(self._runs[name])
            plain.append(self._milliseconds(self._runs[PLAIN]))
            ratio[name] = with_maps[name] / (0.5 * (plain[-2] + plain[-1]))
        return {"plain": plain, "with_maps": with_maps, "ratio": ratio}

    def _milliseconds(self, run: Callable[[], Any]) -> float:
        start = self._clock()
        run()
        return 1000 * (self._clock() - start)

    def _memory(self, folder: Path, size: int, threads: int, variant: str) -> dict[str, Any]:
        run = self.prepare(folder, variant, case_images(size, 1), threads)
        for _ in range(3):
            run()
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own: what it takes to write a file is no part of what it takes to run it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def case_images(size: int, batch: int) -> Array:
    """The same images for every peer: (batch, 3, size, size) float32, standard normal."""
    return np.random.default_rng(size + batch).standard_normal((batch, 3, size, size), dtype=np.float32)


def load(folder: Path, model: str) -> dict[str, Array]:
    """What `make_models.py` knows of a model: ``image``, ``logits`` and ``zero`` (the logits of an all-zero map)."""
    with np.load(folder / f"{model}.npz") as file:
        return dict(file)


def additivity(grid: Array, logits: Array) -> float:
    """How far the mean over cells of a map (K, H, W) is from the logits (K,), relative to max |logit|."""
    return float(np.abs(grid.mean((-2, -1)) - logits).max() / np.abs(logits).max())


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Collect what a library tells its user: log records from INFO on, and warnings."""
    said: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"{record.levelname.lower()}: {record.getMessage()}"[:300])

    handler = Collect(logging.INFO)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            said.extend(f"warning: {entry.message}"[:300] for entry in caught)
