"""Annotations in XML: one file an image, as Pascal VOC and ILSVRC have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from onnx_gapmil.data.records import MAX_BOXES, MAX_NAME
from onnx_gapmil.data.types import Corners
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.reading import read_bytes

MAX_XML_BYTES = 4 * 2**20
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class XmlObject:
    """One `<object>`.

    Attributes:
        name: its class.
        box: `xmin`, `ymin`, `xmax`, `ymax` as written; None if it has none.
        difficult: whether the annotators marked it so.
    """

    name: str
    box: Corners | None
    difficult: bool


@dataclass(frozen=True, slots=True)
class XmlAnnotation:
    """One file.

    Attributes:
        path: the file.
        filename: the image as the file names it; may be empty, and may lack its ending.
        objects: in the file's order.
    """

    path: Path
    filename: str
    objects: tuple[XmlObject, ...]


def read_annotation(path: Path) -> XmlAnnotation:
    """Read one annotation.

    Raises:
        DataError: it is missing, too large, no XML, declares a document type or entities (with which a small file
            can grow without bound), or has another form.
    """
    root = parse_xml(path)
    if root.tag != "annotation":
        raise DataError(f"{path}: its outermost element is <{root.tag[:40]}>; <annotation> was expected.")
    objects = [_object(element, path, number) for number, element in enumerate(root.findall("object"), 1)]
    if len(objects) > MAX_BOXES:
        raise DataError(f"{path}: {len(objects):,} objects; at most {MAX_BOXES:,} are read.")
    filename = (root.findtext("filename") or "").strip().replace("\\", "/").rsplit("/", 1)[-1]
    return XmlAnnotation(path, filename, tuple(objects))


def parse_xml(path: Path) -> Element:
    """Parse a small XML file that is not trusted: no document type, no entities, bounded in size and depth.

    Raises:
        DataError: see `read_annotation`.
    """
    data = read_bytes(path, DataError, expected="the annotation of one image", limit=MAX_XML_BYTES)
    builder, parser = TreeBuilder(), expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise DataError(f"{path}: elements are nested deeper than {MAX_DEPTH}; this is no annotation.")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise DataError(f"{path}: it declares a document type or entities, which are not read; remove <!DOCTYPE ...>.")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        raise DataError(f"{path}: not XML: {expat.ErrorString(error.code)} in line {error.lineno}.") from error
    except (ValueError, LookupError, AssertionError) as error:  # an encoding that is not known; a tree without a root
        raise DataError(f"{path}: not XML that can be read ({error}).") from error


def _object(element: Element, path: Path, number: int) -> XmlObject:
    where = f"{path}, object {number}"
    name = (element.findtext("name") or "").strip()
    if not name or len(name) > MAX_NAME:
        raise DataError(f"{where}: it has no <name>, or one that is too long.")
    box = element.find("bndbox")
    difficult = (element.findtext("difficult") or "").strip() not in ("", "0", "false")
    if box is None:
        return XmlObject(name, None, difficult)
    edges = [_edge(box, side, where) for side in ("xmin", "ymin", "xmax", "ymax")]
    return XmlObject(name, (edges[0], edges[1], edges[2], edges[3]), difficult)


def _edge(box: Element, side: str, where: str) -> float:
    text = (box.findtext(side) or "").strip()
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{where}: <{side}> is {text[:40]!r}, and a number was expected.") from None


def counts_from_zero(annotations: Sequence[XmlAnnotation]) -> bool:
    """Whether some edge is below 1, where Pascal VOC's first pixel is 1."""
    return any(
        min(item.box[0], item.box[1]) < 1 for found in annotations for item in found.objects if item.box is not None
    )
