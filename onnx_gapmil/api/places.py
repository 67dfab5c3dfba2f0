"""What is behind a URL, as a function's arguments: fetched before it, and put when it has done its work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.files.urls import is_url

P = ParamSpec("P")
T = TypeVar("T")


def takes_urls(
    *, read: Collection[str] = (), files: Collection[str] = (), folder: str = ""
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Give a function the paths of this machine for the URLs among its arguments.

    Args:
        read: names of arguments that are files or folders to be read, or lists of them.
        files: of those that are files to be written.
        folder: of that which is the folder of results.

    Results are put when the function returns. Where it raises, what it made is kept, and the exception has a note that
    names the place.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> T:
            given = signature.bind(*args, **kwargs)
            if not any(_has_url(given.arguments.get(name)) for name in (*read, *files, folder)):
                return function(*args, **kwargs)
            from onnx_gapmil.files.staging import Results

            with watched_reads(), Results() as results:
                for name, value in given.arguments.items():
                    if not _has_url(value):
                        continue
                    if name in read:
                        given.arguments[name] = _local(value)
                    elif name in files:
                        given.arguments[name] = results.file(value)
                    elif name == folder:
                        given.arguments[name] = results.folder(value)
                return function(*given.args, **given.kwargs)

        return called

    return decorate


def _has_url(value: object) -> bool:
    return any(map(_has_url, value)) if isinstance(value, list | tuple) else isinstance(value, str) and is_url(value)


def _local(value: Any) -> Any:
    from onnx_gapmil.files.mirroring import local_path

    return [_local(each) for each in value] if isinstance(value, list | tuple) else local_path(value)
