"""A Ray cluster by its address: one that runs, or one of this machine alone, for the time of a run."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import IO, Any, cast

from onnx_gapmil.errors import InputError
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.validation.cluster.layout import Machine

AUTO, LOCAL = "auto", "local"
_HOST = re.compile(r"\[?(?P<host>[^\s/\]]+)\]?:(?P<port>\d{1,5})")
#: Seconds in which a cluster's head answers.
_PATIENCE = 10.0
#: Bytes for what travels between processes, which are no images.
_STORE = 128 * 2**20


def require_ray() -> Any:
    """Ray's package.

    Raises:
        InputError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray runs on Ray, which is not installed: pip install 'onnx-gapmil[ray]'.") from error
    return ray


def require_address(address: str) -> str:
    """An address as it is.

    Raises:
        InputError: it is none.
    """
    if address not in (AUTO, LOCAL) and _HOST.fullmatch(address) is None:
        raise InputError(
            f"{address!r} is no address of a Ray cluster: auto (one that runs here, else one of this machine alone), "
            "local, or HOST:PORT."
        )
    return address


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster while the block runs. One that is started for it ends with it, however that ends; a
    connection that this process has already is used, where it is to that cluster, and stays.

    Args:
        address: see `require_address`.

    Raises:
        InputError: Ray is not installed, or no cluster can be reached or started, or this process is connected to
            another one.
    """
    ray = require_ray()
    require_address(address)
    if ray.is_initialized():
        if address not in (AUTO, said_address(ray)):
            raise InputError(
                f"This process is connected to Ray at {said_address(ray)} and not to {address}; ask for auto, or call "
                "ray.shutdown() before."
            )
        yield ray
        return
    before = _signals()
    try:
        with redirect_stdout(cast("IO[str]", _WithoutRay(sys.stdout))):
            _connect(ray, address)
            _restore(before)  # Ray would end this process by its own means
            yield ray
    finally:
        # What the run said is said; Ray prints what it has held back.
        with suppress(Exception), redirect_stdout(io.StringIO()):
            ray.shutdown()
        _restore(before)


class _WithoutRay:
    """A stream without what Ray's own threads print: each worker that died, on stdout, whatever it was asked for."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is None or threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def machines_of(ray: Any) -> list[Machine]:
    """What the cluster's machines offer."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Machine(int(found.get("CPU", 0)), int(found.get("GPU", 0))) for found in alive]


def said_address(ray: Any) -> str:
    """Where the cluster is."""
    return str(ray.get_runtime_context().gcs_address)


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address not in (AUTO, LOCAL):
        _require_answer(address)
    try:
        if address != LOCAL:
            try:
                ray.init(address=address, **quiet)
            except ConnectionError:
                if address != AUTO or "RAY_ADDRESS" in os.environ:
                    raise
            else:
                return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is told to anybody
        ray.init(
            address=LOCAL,
            num_cpus=thread_count(),
            include_dashboard=False,
            object_store_memory=_STORE,
            **quiet,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        ray.shutdown()
        where = os.environ.get("RAY_ADDRESS", "") if address == AUTO else "" if address == LOCAL else address
        raise InputError(f"No Ray cluster{f' at {where}' if where else ''}: {_reason(error)}.") from error


def _require_answer(address: str) -> None:
    """Ask whether anybody listens there, which Ray itself takes half a minute to find out."""
    found = _HOST.fullmatch(address)
    if found is None:
        raise ValueError(address)
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"No Ray cluster answers at {address} ({getattr(error, 'strerror', None) or error}); name its head's "
            "address, HOST:PORT, as ray start printed it."
        ) from error


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]


def _signals() -> list[tuple[int, Any]]:
    return [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]


def _restore(before: list[tuple[int, Any]]) -> None:
    for number, handler in before:
        with suppress(ValueError, TypeError):  # another thread than the main one, to which no signals go
            signal.signal(number, handler)
