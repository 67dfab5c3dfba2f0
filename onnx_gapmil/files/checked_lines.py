"""Lines of a journal, each with the sum of its bytes: a digit that changed on the disk would be a wrong measurement."""

from __future__ import annotations

import zlib


def checked_line(text: bytes) -> bytes:
    """A line, without its line break."""
    return b"%08x %b" % (zlib.crc32(text), text)


def content_of(line: bytes) -> bytes:
    """What a line holds.

    Raises:
        ValueError: it is damaged, cut short, or none.
    """
    text = line[9:]
    if checked_line(text) != line:
        raise ValueError("a line of the journal is damaged")
    return text
