"""ImageNet's own list of classes, where a data set brings it: wnids in the order of the classes, with words."""

from __future__ import annotations

import re

from onnx_gapmil.data.files import read_text
from onnx_gapmil.files.remote import Place

_NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")
WNID = re.compile(r"n\d{8}")
_LINE = re.compile(r"n\d{8}\s+\S.*")


def find_synset_mapping(folder: Place) -> tuple[str, ...] | None:
    """Lines such as `n01440764 tench, Tinca tinca` from a file in the folder, or up to two above; None without one."""
    for place in (folder, folder.parent, folder.parent.parent):
        for name in _NAMES:
            if (place / name).is_file():
                lines = [line.strip() for line in read_text(place / name).text.splitlines() if line.strip()]
                if lines and all(_LINE.fullmatch(line) for line in lines):
                    return tuple(lines)
    return None
