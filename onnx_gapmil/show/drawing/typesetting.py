"""A line of text in any script as a mask of its ink: directions resolved, letters joined, fonts chosen.

HarfBuzz shapes the letters and draws their outlines, python-bidi resolves directions (Unicode's annex 9). A part that
stands between FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE has a direction of its own and moves nothing around it:
`isolated` puts names between them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import uharfbuzz as hb

from onnx_gapmil.show.drawing.faces import Face, face_of, shipped

_FSI, _PDI = "\u2068", "\u2069"
_ISOLATES = re.compile(f"{_FSI}([^{_FSI}{_PDI}]*)(?:{_PDI}|$)|([^{_FSI}{_PDI}]+)|[{_FSI}{_PDI}]")
#: Blocks of Hebrew, Arabic, Syriac, Thaana, N'Ko and of those that are written from right to left beyond them.
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_TYPES = {"": "L", "LRI": "ON", "RLI": "ON", "FSI": "ON", "PDI": "ON"}
_JOINERS = ("\u200c", "\u200d")
#: A letter and what stands on it, or is joined to it.
_PLAIN = re.compile("[\x20-\x7e\xa0-\u02ff]*")


@dataclass(frozen=True, eq=False)
class Line:
    """A line's ink.

    Attributes:
        mask: (height, width), 0 for paper to 255 for ink.
        left: where the mask's left edge is, in pixels right of the line's start.
        top: rows of the mask above the baseline.
        width: of the line, in pixels; the mask may be wider or narrower.
    """

    mask: npt.NDArray[np.uint8]
    left: int
    top: int
    width: float


@dataclass(frozen=True, slots=True)
class _Run:
    """Letters of one font, script and direction, as they follow each other in the text."""

    text: str
    face: Face
    level: int


@lru_cache(maxsize=2048)
def line(text: str, size: int, *, bold: bool = False) -> Line:
    """Set one line.

    Args:
        text: without control characters; a letter that no font has is spelled out, as ``\\u732b``.
        size: of the letters, pixels to the em.
        bold: of the letters.
    """
    pen, at = hb.RasterDraw(), 0.0
    for run in _visual(text, bold=bold):
        shaped, font = _shaped(run, bold), run.face.thick if bold else run.face.font
        scale = size / run.face.units
        for glyph, place in zip(shaped.glyph_infos, shaped.glyph_positions, strict=True):
            pen.transform = (scale, 0, 0, scale, at + place.x_offset * scale, place.y_offset * scale)
            pen.draw_glyph(font, glyph.codepoint)
            at += place.x_advance * scale
    return _inked(pen.render(), at)


@lru_cache(maxsize=4096)
def width(text: str, size: int, *, bold: bool = False) -> float:
    """Of a line, in pixels."""
    total = 0.0
    for run in _visual(text, bold=bold):
        advance = sum(place.x_advance for place in _shaped(run, bold).glyph_positions)
        total += advance * size / run.face.units
    return total


def isolated(text: str) -> str:
    """The text such that its direction is its own affair; as it is where it runs from left to right."""
    return f"{_FSI}{text}{_PDI}" if _RIGHT_TO_LEFT.search(text) else text


@lru_cache(maxsize=512)
def wrapped(text: str, size: int, room: float, *, bold: bool = False) -> tuple[str, ...]:
    """Lines that fit into `room` pixels: broken at spaces, hyphens and between Han letters, else where they must be."""
    lines: list[str] = []
    start, end = 0, 0
    for stop in _breaks(text):
        if width(_closed(text[start:stop].rstrip()), size, bold=bold) > room and end > start:
            lines.append(text[start:end])
            start = end
        while width(_closed(text[start:stop].rstrip()), size, bold=bold) > room:
            fits = _longest(text[start:stop], size, room, bold, "")
            if not 0 < fits < stop - start:
                break
            lines.append(text[start : start + fits])
            start += fits
        end = stop
    lines.append(text[start:])
    return tuple(_balanced([entry.strip() for entry in lines if entry.strip()] or [""]))


def ellipsized(text: str, size: int, room: float, *, bold: bool = False) -> str:
    """The longest beginning of a text that fits into `room` pixels, with ``…`` where something was cut."""
    if width(text, size, bold=bold) <= room:
        return text
    fits = _longest(text, size, room, bold, "…")
    return _closed(text[:fits].rstrip()) + "…"


def spelled_out(text: str) -> str:
    r"""The text with letters that no font of this machine has as their code points, ``\u732b``."""
    return "".join(part if face is not None else _escaped(part) for part, face in _clusters(text))


def drawable(text: str) -> bool:
    """Whether every letter is in some font of this machine."""
    return all(face is not None for _, face in _clusters(text))


def _longest(text: str, size: int, room: float, bold: bool, tail: str) -> int:
    """How many characters of a text fit with a tail behind them; whole clusters."""
    ends = [0]
    for cluster, _ in _clusters(text):
        ends.append(ends[-1] + len(cluster))
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if width(_closed(text[: ends[middle]].rstrip()) + tail, size, bold=bold) <= room:
            low = middle
        else:
            high = middle - 1
    return ends[low]


def _breaks(text: str) -> list[int]:
    """Where a line may end: behind spaces, hyphens and their like, behind Han letters, at the end."""
    ends = set()
    for place, letter in enumerate(text):
        wide = unicodedata.east_asian_width(letter) in "WF"
        if letter in " _/-" or (wide and not unicodedata.category(letter).startswith("P")):
            ends.add(place + 1)
    return sorted(ends | {len(text)})


def _closed(text: str) -> str:
    return text + _PDI if text.count(_FSI) > text.count(_PDI) else text


def _balanced(lines: Sequence[str]) -> list[str]:
    """An isolate that a break divides goes on in the next line."""
    found, opened = [], False
    for entry in lines:
        text = (_FSI if opened else "") + entry
        opened = text.count(_FSI) > text.count(_PDI)
        found.append(_closed(text))
    return found


def _visual(text: str, *, bold: bool) -> Iterator[_Run]:
    """The runs of a line from left to right."""
    if _PLAIN.fullmatch(text):
        if text:
            yield _Run(text, shipped("NotoSans-Bold" if bold else "NotoSans-Regular"), 0)
        return
    for part in _ISOLATES.finditer(unicodedata.normalize("NFC", text)):
        own, around = part[1], part[2]
        if own:
            yield from _reordered(_runs(own, _base_level(own), bold))
        elif around:
            yield from _reordered(_runs(around, 0, bold))


def _runs(text: str, base: int, bold: bool) -> list[_Run]:
    levels = _levels(text, base)
    runs: list[_Run] = []
    place, script = 0, ""
    for cluster, face in _clusters(text, bold=bold):
        shown, used = (cluster, face) if face is not None else (_escaped(cluster), shipped("NotoSans-Regular"))
        own, level = _script(cluster[0]), levels[place]
        place += len(cluster)
        last = runs[-1] if runs else None
        if last is not None and cluster == " " and last.face.has(cluster):
            used, own = last.face, ""
        if last is not None and (last.face, last.level) == (used, level) and own in ("", script):
            runs[-1] = _Run(last.text + shown, used, level)
        else:
            runs.append(_Run(shown, used, level))
        script = own or script
    return runs


def _clusters(text: str, *, bold: bool = False) -> Iterator[tuple[str, Face | None]]:
    """Each letter with its marks, and the font that has them."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not _is_mark(text[place]):
            cluster = text[start:place]
            yield cluster, None if cluster in (_FSI, _PDI) else face_of(cluster, bold=bold)
            start = place


def _is_mark(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter).startswith("M")


def _base_level(text: str) -> int:
    from bidi.algorithm import get_base_level

    return int(get_base_level(text))


def _levels(text: str, base: int) -> list[int]:
    """The level of embedding of each character: odd ones run from right to left."""
    if not base and not _RIGHT_TO_LEFT.search(text):
        return [0] * len(text)
    from bidi import algorithm

    storage = algorithm.get_empty_storage()
    storage["base_level"], storage["base_dir"] = base, "LR"[base]
    # Joiners have no level of their own; the algorithm leaves them out of its answer.
    algorithm.get_embedding_levels("".join(letter for letter in text if letter not in _JOINERS), storage)
    for entry in storage["chars"]:
        # Code points of no character have no type, and isolates came after the version that is implemented there.
        entry["type"] = _TYPES.get(entry["type"], entry["type"])
        entry["orig"] = entry["type"]
    for step in ("explicit_embed_and_overrides", "resolve_weak_types", "resolve_neutral_types"):
        getattr(algorithm, step)(storage, False)
    algorithm.resolve_implicit_levels(storage, False)
    found = iter([int(entry["level"]) for entry in storage["chars"]])
    levels: list[int] = []
    for letter in text:
        levels.append((levels[-1] if levels else base) if letter in _JOINERS else next(found, base))
    return levels


def _reordered(runs: list[_Run]) -> list[_Run]:
    """From the order of reading to that on paper: rule L2."""
    for level in range(max((run.level for run in runs), default=0), 0, -1):
        start = 0
        while start < len(runs):
            end = start
            while end < len(runs) and runs[end].level >= level:
                end += 1
            runs[start:end] = runs[start:end][::-1]
            start = end + 1
    return runs


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """The script of a letter; "" of what all scripts share."""
    buffer = hb.Buffer()
    buffer.add_str(letter)
    buffer.guess_segment_properties()
    script = str(buffer.script or "")
    return "" if script in ("Zyyy", "Zinh", "Zzzz") else script


def _shaped(run: _Run, bold: bool) -> hb.Buffer:
    buffer = hb.Buffer()
    buffer.add_str(run.text)
    buffer.guess_segment_properties()
    buffer.direction = "rtl" if run.level % 2 else "ltr"
    hb.shape(run.face.thick if bold else run.face.font, buffer)
    return buffer


def _inked(drawn: hb.RasterImage, width: float) -> Line:
    extents = drawn.extents
    if extents is None or not extents.width or not extents.height:
        return Line(np.zeros((0, 0), np.uint8), 0, 0, width)
    rows = np.frombuffer(drawn.buffer, np.uint8).reshape(extents.height, extents.stride)
    mask = np.ascontiguousarray(rows[::-1, : extents.width])  # HarfBuzz's rows go up
    return Line(mask, int(extents.x_origin), int(extents.y_origin + extents.height), width)


def _escaped(cluster: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}" for letter in cluster)
