"""A server for one page on this machine: it listens on 127.0.0.1 alone, and answers who knows its token alone.

Any page that a browser has open can send requests to 127.0.0.1, and any name can be made to lead there. So a request is
answered only if its path begins with a random token, its ``Host`` is this server, and, where it names the page that it
comes from (``Origin``), that is this server's. No path of a file is ever made of what a request says.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from onnx_gapmil.errors import GapmilError, InputError
from onnx_gapmil.files.printable import visible
from onnx_gapmil.viewing.answering import MOST_BYTES

if TYPE_CHECKING:
    from onnx_gapmil.viewing.answering import Answering

_ADDRESS = "127.0.0.1"
_PHOTO = re.compile(r"photo/(\d{1,6})")
#: Seconds that a connection may take for a request.
_PATIENCE = 30.0
_LONGEST_NAME = 200
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ViewServer(ThreadingHTTPServer):
    """Serves one page and its photos' answers.

    Args:
        answering: to whom they are put.
        port: to listen on; any that is free if 0.

    Raises:
        InputError: the port cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, answering: Answering, port: int = 0) -> None:
        self.answering = answering
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((_ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"Port {port} of {_ADDRESS} cannot be had: {reason}. Leave --port for a free one."
            ) from error

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{_ADDRESS}:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may name as its host."""
        return frozenset(f"{name}:{self.server_port}" for name in (_ADDRESS, "localhost"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no matter."""


class _RefusedError(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "onnx-gapmil"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _not_allowed(self) -> None:
        self._answer(self._refuse_method)

    do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_TRACE = do_CONNECT = _not_allowed  # noqa: N815

    @property
    def _view(self) -> ViewServer:
        return cast("ViewServer", self.server)

    def _answer(self, work: Any) -> None:
        try:
            self._require_own()
            work()
        except _RefusedError as error:
            self.close_connection = True  # what else was sent is not read
            self._send_error(error.status, str(error), type(error).__name__)
        except GapmilError as error:
            self._send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), type(error).__name__)

    def _require_own(self) -> None:
        """The request is for this server, and from its own page, or from no page at all."""
        hosts = self._view.hosts
        if self.headers.get_all("Host") is None or any(host not in hosts for host in self.headers.get_all("Host", [])):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "This server has another name.")
        origins = self.headers.get_all("Origin", [])
        if any(origin not in {f"http://{host}" for host in hosts} for origin in origins):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "This server answers its own page.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "This server answers its own page.")

    @property
    def _asked(self) -> str:
        """What is asked for, behind the token."""
        token, slash, rest = self.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self._view.token.encode()):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return rest

    def _get(self) -> None:
        asked, answering = self._asked, self._view.answering
        if asked == "":
            self._send(HTTPStatus.OK, answering.page, "text/html; charset=utf-8")
            return
        match = _PHOTO.fullmatch(asked)
        if match is None or int(match[1]) >= len(answering.photos):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self._send(HTTPStatus.OK, answering.of_file(int(match[1])), "application/json")

    def _post(self) -> None:
        if self._asked != "photo":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        if not self.headers.get_all("Origin", []):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Photos are taken from the page of this server alone.")
        said = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not said.isascii() or not said.isdigit():
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "The length of the photo is not said.")
        if len(said) > len(str(MOST_BYTES)) or int(said) > MOST_BYTES:
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The photo has more than the {MOST_BYTES:,} bytes that are taken."
            )
        name = visible(unquote(self.headers.get("X-Photo-Name", "")))[:_LONGEST_NAME] or "photo"
        data = self.rfile.read(int(said))
        if len(data) != int(said):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "The photo came cut short.")
        self._send(HTTPStatus.OK, self._view.answering.of_bytes(data, name), "application/json")

    def _refuse_method(self) -> None:
        _ = self._asked  # who has no token is told nothing
        raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and POST are answered.")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for key, value in _HEADERS.items():
            self.send_header(key, value)
        self.send_header("Content-Security-Policy", f"{self._view.answering.policy}; frame-ancestors 'none'")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_error(self, status: HTTPStatus, message: str, code: str) -> None:
        body = json.dumps({"error": {"code": code.removeprefix("_"), "message": visible(message)}}).encode()
        self._send(status, body, "application/json")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library cannot read of a request is told as everything else is."""
        self.close_connection = True
        self._send_error(HTTPStatus(code), message or HTTPStatus(code).phrase, "RequestError")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is logged: paths hold the token."""
