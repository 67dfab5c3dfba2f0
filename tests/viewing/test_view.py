"""`view` in Python: when a browser is opened, what is asked for, and that the server is closed in the end."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

import onnx_gapmil
from onnx_gapmil import InputError
from onnx_gapmil.cli import main
from onnx_gapmil.viewing import view
from onnx_gapmil.viewing.server import ViewServer
from tests.helpers.view_pages import DIGITS, KERAS, SCENES


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a browser was asked to open."""
    found: list[str] = []
    monkeypatch.setattr(view.webbrowser, "open", found.append)
    return found


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[ViewServer]:
    """The servers that were asked to serve, each interrupted at once."""
    found: list[ViewServer] = []

    def stop(server: ViewServer, poll_interval: float) -> None:
        found.append(server)
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewServer, "serve_forever", stop)
    return found


@pytest.mark.parametrize("display", [True, False])
def test_a_browser_is_opened_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], interrupted: list[ViewServer], display: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(view.sys, "platform", "linux")
    urls: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        onnx_gapmil.view(DIGITS, SCENES, provider="cpu", ready=urls.append)
    for thread in view.threading.enumerate():
        if thread.daemon and thread.name.endswith("(append)"):
            thread.join(5)
    assert opened == (urls if display else [])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", interrupted[0].server_port), timeout=5)


def test_a_second_model_is_told_from_photos_by_its_ending(
    interrupted: list[ViewServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", str(DIGITS), str(KERAS), SCENES[0], "--no-browser", "--provider", "cpu"]) == 130
    (server,) = interrupted
    assert [path.name for path in server.answering.photos] == [Path(SCENES[0]).name]
    assert b"digits_keras.onnx" in server.answering.page
    assert capsys.readouterr().out == f"{server.url}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--names-new", "x"], 2, "of a second model"),
        (["absent.png", "--no-browser"], 2, "absent.png"),
        (["--preprocess", "absent", "--no-browser"], 2, "absent"),
        (["--port", "70000"], 2, "70000"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert main(["view", str(DIGITS), *arguments]) == code
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_model_that_takes_no_photos_is_refused(tmp_path: Path) -> None:
    from tests.helpers.support import text_model, weights

    body = "f = ReduceMean<axes=[2],keepdims=0>(x)  y = Gemm<transB=1>(f, w, b)"
    model: Any = text_model(body, x="float[N,5,40] x", y="float[N,4] y", init={"w": weights(4, 5), "b": weights(4)})
    (tmp_path / "signal.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError):
        onnx_gapmil.view(tmp_path / "signal.onnx", provider="cpu", browser=False)
