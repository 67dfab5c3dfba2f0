"""URLs as texts: what is one, how one is shown without what it gives away, and which file here stands for which.

What is kept behind a URL is worked on in a copy on this machine (`onnx_gapmil.files.mirroring`). People and results are
told the URL and never the copy: every place where a path becomes text asks `said`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(://|::.*://)")
_USER = re.compile(r"(?<=://)[^/?#@\s]+@")
_QUERY = re.compile(r"(?<=[?&;])([^=&;\s'\"]+)=[^&;\s'\"]*?(?=[&;\s'\"]|[:.,)]*$)")
_WITH_QUERY = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://[^\s'\"?]*\?[^\s'\"]*")

_origins: dict[str, str] = {}


def is_url(text: str | Path) -> bool:
    """Whether a text is a URL, or a chain of them (``zip://inner::s3://bucket/file.zip``), and no path."""
    return isinstance(text, str) and _URL.match(text) is not None


def given_place(text: str | Path) -> str | Path:
    """What a user gave: a URL as it is, anything else as a path."""
    return text if isinstance(text, str) and is_url(text) else Path(text)


def without_secrets(text: str) -> str:
    """A text with user, password and the values of queries (tokens, signatures) of each URL in it left out."""
    if "://" not in text:
        return text
    text = _USER.sub("***@", text)
    return _WITH_QUERY.sub(lambda url: _QUERY.sub(r"\1=***", url[0]), text) if "?" in text else text


def note_origin(path: Path, url: str) -> None:
    """Tell that a file, or a folder with all that is in it, stands for what is behind a URL."""
    _origins[str(path)] = without_secrets(url)


def origins() -> dict[str, str]:
    """What stands for what, as `note_origin` was told: for a process that works on the same files."""
    return dict(_origins)


def said(place: PurePath | str) -> str:
    """A path as a user knows it: of a copy, the URL that it stands for; a URL without its secrets."""
    return said_text(str(place))


def said_text(text: str) -> str:
    """A text in which copies are called by their URLs, and no URL gives a secret away."""
    for path in sorted(_origins, key=len, reverse=True) if _origins else ():
        if path in text:
            text = text.replace(path, _origins[path])
    return without_secrets(text)
