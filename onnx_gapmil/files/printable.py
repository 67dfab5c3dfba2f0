"""The one place where a stranger's text is made fit to be shown: nothing in it steers a terminal or a page."""

from __future__ import annotations

import re

#: C0 and C1 controls, DEL; marks that turn the direction of writing or hide (soft hyphen, zero width, joiners kept, as
#: scripts need them); line and paragraph separators; tags; what is no character at all.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_STEERING_BUT_LINES = re.compile(_STEERING.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))


def visible(text: str) -> str:
    r"""A name, a path or a message in one line: what would steer is spelled out, as ``\x1b`` or ``\u202e``."""
    return _STEERING.sub(_spelled, text)


def visible_lines(text: str) -> str:
    """The same for text of several lines, which stay."""
    return _STEERING_BUT_LINES.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in _SHORT:
        return _SHORT[code]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
