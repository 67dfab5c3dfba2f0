"""A server that runs in this process, and its page in a browser without a window."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from onnx_gapmil.viewing.server import ViewServer
from onnx_gapmil.viewing.view import make_server
from tests.helpers.view_pages import DIGITS, SCENES


@contextmanager
def running(server: ViewServer) -> Iterator[ViewServer]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture(scope="session")
def served() -> Iterator[ViewServer]:
    """The digit model with two of its scenes."""
    with running(make_server([(DIGITS, {})], SCENES, provider="cpu")) as server:
        yield server


@pytest.fixture(scope="session")
def serve() -> Any:
    """`running`, for servers of a test's own."""
    return running
