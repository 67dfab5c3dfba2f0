"""One stage of a pipeline: a function applied by threads, results in order, never more than a few ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_END = object()


def ordered_map(
    function: Callable[[_In], _Out],
    items: Iterable[_In],
    *,
    workers: int,
    ahead: int,
    finish: bool = False,
    name: str = "gapmil",
) -> Generator[_Out, None, None]:
    """Apply a function to a stream in threads; results come in the stream's order.

    `items` is read in the caller's thread, when a result is asked for, so stages can be put one after another:
    each is the next one's `items`. When the iterator ends, is closed or raises, what is running is waited for, work
    that has not begun is dropped (or done, with `finish`), and `items` is closed if it is a generator: no thread is
    left behind.

    Args:
        function: must be safe to call from several threads, if `workers` is above 1.
        items: of any length; not read further than `ahead` beyond the last result.
        workers: threads.
        ahead: items whose results nobody has taken yet, at the most; at least 1.
        finish: do all that was taken from `items`, even if nobody waits for the result: for work that leaves something
            behind, such as files.
        name: of the threads, for debuggers.

    Raises:
        BaseException: what `function` raised, in the place of its result; what `items` raised, at once.
    """
    source = iter(items)
    pending: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix=name)
    try:
        while True:
            while len(pending) < max(1, ahead) and (item := next(source, _END)) is not _END:
                pending.append(pool.submit(function, cast("_In", item)))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=not finish)
        close = getattr(source, "close", None)
        if close is not None:
            close()
