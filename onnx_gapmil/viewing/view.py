"""`serve`: make the models ready, serve their page, open it, and stop when asked to."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.viewing.answering import Answering
from onnx_gapmil.viewing.server import ViewServer


def make_server(
    models: Sequence[tuple[str | Path, Mapping[str, Any]]],
    photos: Sequence[str] = (),
    *,
    provider: str = "auto",
    port: int = 0,
) -> ViewServer:
    """A server that listens, and is not yet asked to serve.

    Args:
        models: one path of an ``.onnx`` file, or two to lie beside each other, each with further arguments of
            `Classifier`.
        photos: files, folders or globs to begin with.
        provider: where to run.
        port: to listen on; any that is free if 0.

    Raises:
        InputError: model, photos, names, preprocessing, provider or port will not do.
        UnsupportedHeadError: no output of a model has a head that can be lifted.
    """
    made = [Classifier(model, provider=provider, **options) for model, options in models]
    return ViewServer(Answering(made, [options for _, options in models], photos), port)


def _has_display() -> bool:
    """Whether a browser can be opened in a window: one in a terminal would take it from the server."""
    named = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return named or sys.platform in ("win32", "darwin")


def serve(server: ViewServer, *, browser: bool = True, ready: Callable[[str], None] | None = None) -> None:
    """Serve until the process is interrupted, which is the way to end it.

    Args:
        server: of `make_server`.
        browser: open the page in the user's browser.
        ready: is called with the page's address, once it can be opened.

    Raises:
        KeyboardInterrupt: somebody wants it to end; the server is closed then.
    """
    with server:
        if ready is not None:
            ready(server.url)
        if browser and _has_display():  # which may wait for the page before it returns
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        server.serve_forever(poll_interval=0.2)
