"""A page is sent to others: where files lie on the machine that made it is nobody's business."""

from __future__ import annotations

import re

#: Folders of an absolute path, of POSIX or Windows; an address with a scheme is none.
_FOLDERS = re.compile(
    r"""(?<![\w/.:~\\-])/(?:[^\s/'"<>|:;,()]+/)+"""
    r"""|(?<!\w)[A-Za-z]:[\\/](?:[^\\/\s'"<>|:;,()]+[\\/])+"""
    r"""|\\\\(?:[^\\\s'"<>|:;,()]+\\)+"""
)


def without_folders(text: str, *known: str) -> str:
    """A sentence with the folders of its absolute paths left out, so that names of files stay.

    Args:
        text: of the program's own, with paths in it.
        known: paths that may hold spaces; each becomes its last part.
    """
    for path in sorted(filter(_is_absolute, known), key=len, reverse=True):
        text = text.replace(path, re.split(r"[\\/]", path.rstrip("\\/"))[-1])
    return _FOLDERS.sub("", text)


def _is_absolute(path: str) -> bool:
    return bool(re.match(r"/[^/]|[A-Za-z]:[\\/]|\\\\", path))
