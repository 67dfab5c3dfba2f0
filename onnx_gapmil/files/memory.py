"""How much memory there is, and how much this process takes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def without_collection() -> Iterator[None]:
    """No search for circles of objects in this block: among a million rows that stay it finds none, and takes a fifth
    of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def available_memory() -> int | None:
    """Bytes of memory that can be taken without swapping, the control group's limit included; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def private_memory() -> int | None:
    """Bytes that this process may write, whether it did or not: what ``RLIMIT_DATA`` counts; None if unknown."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    except (OSError, StopIteration, ValueError):
        return None


#: Values that `shared` remembers at the most.
_MOST_SHARED = 1 << 16
_known: dict[tuple[Any, ...], tuple[Any, ...]] = {}


def shared(values: tuple[T, ...]) -> tuple[T, ...]:
    """The same values in a tuple that equal ones have too: of a million images few have ranks or cells of their own.

    Args:
        values: whole numbers, texts, or tuples of such.
    """
    found = _known.get(values)
    if found is None:
        if len(_known) >= _MOST_SHARED:
            return values
        found = _known.setdefault(values, values)
    return found
