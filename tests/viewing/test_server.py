"""The server by itself: whom it answers, whom it refuses, and that no name in a request leads to a file."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_gapmil import Classifier, InputError
from onnx_gapmil.viewing.answering import MOST_BYTES
from onnx_gapmil.viewing.server import ViewServer
from onnx_gapmil.viewing.view import make_server
from tests.helpers.view_pages import DIGITS, SCENES
from tests.prediction.page.test_encoding import floats


def ask(
    server: ViewServer, path: str = "", method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request with exactly these headers; ``path`` follows the token unless it begins with a slash."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    given = {
        "Host": f"127.0.0.1:{server.server_port}",
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    if body is not None:
        given.setdefault("Content-Length", str(len(body)))
    connection.putrequest(method, path if path.startswith("/") else f"/{server.token}/{path}", skip_host=True)
    for key, value in given.items():
        connection.putheader(key, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def own(server: ViewServer) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{server.server_port}"}


def test_it_listens_on_this_machine_alone(served: ViewServer) -> None:
    assert served.server_address[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", served.url)


def test_photos_of_shards_and_of_one_name_are_shown(serve: Any, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(SCENES[1], "0.png")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(SCENES[0], tmp_path / folder / "p.png")
    photos = [str(tmp_path / name) for name in ("a", "b", "s.tar")]
    with serve(make_server([(DIGITS, {})], photos, provider="cpu")) as server:
        shown = [json.loads(ask(server, f"photo/{place}", **own(server))[2]) for place in range(3)]
    assert [photo["name"] for photo in shown] == ["a/p.png", "b/p.png", "s.tar#0.png"]
    assert [photo["within"] for photo in shown] == [False, False, True]
    found = Classifier(DIGITS).predict(SCENES[1])
    np.testing.assert_array_equal(floats(shown[2]["answers"][0][0]["values"]["logits"]), found.logits)


def test_two_servers_have_two_tokens(served: ViewServer) -> None:
    other = ViewServer(served.answering)
    other.server_close()
    assert other.token != served.token


def test_the_page_comes_with_headers_that_let_it_do_nothing_but_ask_this_server(served: ViewServer) -> None:
    status, headers, body = ask(served)
    assert status == 200
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert b"digits_torch_legacy.onnx" in body
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    ["/", "/photo/0", "//", "/wrong/", "/wrong/photo/0", "/{token}", "/{token}x/", "/{short}/", "/%2e%2e/{token}/"],
)
def test_without_the_token_nothing_is_said(served: ViewServer, path: str) -> None:
    status, _, body = ask(served, path.format(token=served.token, short=served.token[:-1]))
    assert status == 404
    assert json.loads(body) == {"error": {"code": "RefusedError", "message": "There is nothing here."}}


@pytest.mark.parametrize(
    "path",
    [
        "photo/2",
        "photo/-1",
        "photo/00000000",
        "photo/0/",
        "photo/../photo/0",
        "../etc/passwd",
        "photo/0?x",
        "%2fetc",
        "photo",
    ],
)
def test_no_path_leads_to_a_file(served: ViewServer, path: str) -> None:
    assert ask(served, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_another_host_is_refused(served: ViewServer, host: str) -> None:
    assert ask(served, Host=host.format(port=served.server_port))[0] == 403


def test_localhost_is_this_host(served: ViewServer) -> None:
    assert ask(served, Host=f"localhost:{served.server_port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(served: ViewServer, origin: str, method: str) -> None:
    body = b"x" if method == "POST" else None
    path = "photo" if method == "POST" else ""
    assert ask(served, path, method, body, Origin=origin.format(port=served.server_port))[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_another_page_made_is_refused(served: ViewServer, site: str) -> None:
    assert ask(served, Sec_Fetch_Site=site)[0] == 403


def test_a_photo_without_an_origin_is_refused(served: ViewServer) -> None:
    assert ask(served, "photo", "POST", Path(SCENES[0]).read_bytes())[0] == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "CONNECT"])
def test_other_methods_are_refused(served: ViewServer, method: str) -> None:
    status, headers, _ = ask(served, "", method)
    assert (status, headers["allow"]) == (405, "GET, POST")
    assert ask(served, "/", method)[0] == 404


def test_a_method_that_nobody_knows_is_refused(served: ViewServer) -> None:
    assert ask(served, "", "BREW")[0] == 501


def test_too_large_a_photo_is_refused_before_it_is_read(served: ViewServer) -> None:
    for length in (str(MOST_BYTES + 1), "9" * 5000):
        assert ask(served, "photo", "POST", None, **own(served), Content_Length=length)[0] == 413


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "٣"])
def test_a_length_that_is_none_is_refused(served: ViewServer, length: str) -> None:
    text = length.encode("utf-8").decode("latin-1")
    assert ask(served, "photo", "POST", None, **own(served), Content_Length=text)[0] == 411


def test_chunks_are_refused(served: ViewServer) -> None:
    status, _, _ = ask(served, "photo", "POST", b"0\r\n\r\n", **own(served), Transfer_Encoding="chunked")
    assert status == 411


def test_a_photo_is_answered_as_the_library_answers_it(served: ViewServer) -> None:
    for path, method, body in (("photo/1", "GET", None), ("photo", "POST", Path(SCENES[1]).read_bytes())):
        headers = {**own(served), "X_Photo_Name": "a%2Fb%20%E2%80%AEc.png"} if body else {}
        status, seen, answer = ask(served, path, method, body, **headers)
        assert (status, seen["content-type"]) == (200, "application/json")
        found = json.loads(answer)
        expected = Classifier(DIGITS, provider="cpu").predict(SCENES[1])
        np.testing.assert_allclose(floats(found["answers"][0][0]["values"]["logits"]), expected.logits, atol=1e-5)
        assert found["name"] == ("a/b \\u202ec.png" if body else "scene_03.png")


def test_what_is_no_photo_is_told_in_a_sentence(served: ViewServer) -> None:
    status, _, answer = ask(served, "photo", "POST", b"no image", **own(served), X_Photo_Name="x.png")
    error = json.loads(answer)["error"]
    assert (status, error["code"]) == (422, "ImageError")
    assert error["message"].startswith("x.png: no image in a format that is read")


def test_a_name_is_never_a_path(served: ViewServer, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    name = f"../../..{tmp_path}/evil.png"
    status, _, answer = ask(served, "photo", "POST", Path(SCENES[0]).read_bytes(), **own(served), X_Photo_Name=name)
    assert status == 200
    assert json.loads(answer)["name"].endswith("evil.png")
    assert set(tmp_path.iterdir()) == before


def test_garbage_and_a_hang_up_do_not_stop_it(served: ViewServer) -> None:
    for garbage in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"",
    ):
        with socket.create_connection(("127.0.0.1", served.server_port), timeout=10) as connection:
            connection.sendall(garbage)
    assert ask(served)[0] == 200


def test_a_port_that_is_taken_is_told(served: ViewServer) -> None:
    with pytest.raises(InputError, match=f"Port {served.server_port} of 127.0.0.1 cannot be had"):
        make_server([(DIGITS, {})], port=served.server_port, provider="cpu")


def test_arrays_and_absent_photos_are_told_before_it_listens(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError):
        make_server([(DIGITS, {})], [str(tmp_path / "x.npy")], provider="cpu")
    with pytest.raises(InputError):
        make_server([(DIGITS, {})], [str(tmp_path / "absent.png")], provider="cpu")


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_verb_says_its_address_in_one_line_and_stops_when_asked(signal_: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "onnx_gapmil", "view", str(DIGITS), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            port = int(url.split(":")[2].split("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/" + url.split("/", 3)[3])
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal_)
            rest, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # a failure must not wait for it
    assert process.returncode == code
    assert rest == ""
    assert "Traceback" not in errors
