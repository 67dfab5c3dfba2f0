"""Tars as WebDataset writes them: members of one name but for its ending are a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from onnx_gapmil.data.building import build
from onnx_gapmil.data.files import is_unicode, printable
from onnx_gapmil.data.jsonlines import load_json
from onnx_gapmil.data.kept_out import KeptOut
from onnx_gapmil.data.records import read_labels
from onnx_gapmil.data.shards.listing import MAX_IMAGES, ShardSet
from onnx_gapmil.data.shards.members import TarMember, members_of
from onnx_gapmil.data.types import DataSet, RawSample
from onnx_gapmil.errors import DataError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.packed import PackedList
from onnx_gapmil.files.remote import Place
from onnx_gapmil.images.decode import MAX_FILE_BYTES
from onnx_gapmil.images.sources import IMAGE_SUFFIXES

_MASKS = ("mask.png", "seg.png")
_TEXTS = {"cls": 2**16, "txt": 2**16, "json": 2**22}
"""Endings of members that say what the image shows, and bytes above which one is not read."""

_LABELS = ("label", "labels", "boxes", "objects")
_UNKNOWN = "-1"


def read_webdataset(shards: ShardSet) -> DataSet:
    """Read the labels of all shards; the images are read when they are asked for.

    A sample's key is its members' path up to the first dot of the name. Its image is the first member with an image's
    ending; its label is the text in ``.cls`` (a number or a name; -1 is not known), else what ``.json`` says, an object
    with the fields of a label file, of which others make slices, else the text in ``.txt``. ``.mask.png`` is a mask.

    What cannot be used is left out and named in the notes: what is torn, a second sample of a key, a sample without an
    image or a label, a name that leads out of the tar, a member that is too large.

    Args:
        shards: the files, in order.

    Raises:
        DataError: a shard is compressed, or nothing is left.
    """
    kept_out, placed = KeptOut(), PackedList[tuple[RawSample, str]]()
    for sample, key, where in _samples(shards, kept_out):
        found = _raw_sample(sample, key, where, kept_out)
        if found is not None:
            placed.append((found, where))
        if len(placed) > MAX_IMAGES:
            raise DataError(f"{shards.what}: more than {MAX_IMAGES:,} images; give fewer shards at once.")
    if not placed:
        raise DataError(f"{shards.what}: no labelled image was found. {' '.join(kept_out.notes())}".strip())
    notes = [*shards.notes, *kept_out.notes()]
    return build(placed, kind="webdataset", root=shards.root, what=shards.what, notes=notes)


def images_of(shards: ShardSet, kept_out: KeptOut) -> Iterator[tuple[Source, str, str]]:
    """The images of all samples, labelled or not, each with the name of its shard and its key there.

    Args:
        shards: the files, in order.
        kept_out: is told what is torn, or cannot be used.

    Raises:
        DataError: a shard is compressed, or none holds an image.
    """
    found = False
    for sample, key, _ in _samples(shards, kept_out):
        if sample.image is not None:
            found = True
            yield sample.image, key.removesuffix(f"#{sample.key}"), sample.key
    if not found:
        raise DataError(f"{shards.what}: {' '.join(['no image was found.', *kept_out.notes()])}")


@dataclass(slots=True)
class _Sample:
    key: str
    image: TarMember | None = None
    mask: TarMember | None = None
    texts: dict[str, str] = field(default_factory=dict)
    endings: dict[str, None] = field(default_factory=dict)
    bad: bool = False


def _samples(shards: ShardSet, kept_out: KeptOut) -> Iterator[tuple[_Sample, str, str]]:
    """Samples, each with its key in the data set and its place for messages."""
    for shard in shards.shards:
        name = shards.name(shard)
        try:
            for sample in _grouped(shard, name, kept_out):
                yield sample, f"{name}#{sample.key}", f"{shard}, {sample.key}"
        except OSError as error:
            kept_out.add("shard", "it cannot be read", f"{name} ({error.strerror or error})")


def _grouped(shard: Place, name: str, kept_out: KeptOut) -> Iterator[_Sample]:
    """Consecutive members of one key; a key that comes again is a second sample, and is left out."""
    seen: set[str] = set()
    sample: _Sample | None = None
    for member, stream in members_of(shard, name, kept_out):
        key, ending = _split(member.path)
        if sample is None or key != sample.key:
            if sample is not None and not sample.bad:
                yield sample
            sample = _Sample(key)
            if key in seen:
                sample.bad = True
                kept_out.add(
                    "sample", "its key was there before; members of one key have to be in a row", f"{name}#{key}"
                )
            seen.add(key)
        _take(sample, member, ending, stream, name, kept_out)
    if sample is not None and not sample.bad:
        yield sample


def _split(path: str) -> tuple[str, str]:
    """Key and ending: up to, and from, the first dot of the name."""
    folder, slash, file = path.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _take(sample: _Sample, member: TarMember, ending: str, stream: BinaryIO, name: str, kept_out: KeptOut) -> None:
    key = f"{name}#{member.path}"
    if ending in sample.endings:
        if not sample.bad:
            kept_out.add("member", "its sample has one of that ending", key)
        return
    sample.endings[ending] = None
    if ending in _TEXTS:
        if member.size > _TEXTS[ending]:
            kept_out.add("sample", "a label of too many bytes", key)
            sample.bad = True
            return
        stream.seek(member.offset)
        sample.texts[ending] = stream.read(member.size).decode("utf-8-sig", "surrogateescape")
    elif ending in _MASKS:
        sample.mask = member
    elif f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES and sample.image is None:
        if member.size > MAX_FILE_BYTES:
            kept_out.add("sample", f"an image of more than {MAX_FILE_BYTES:,} bytes", key)
            sample.bad = True
        sample.image = member


def _raw_sample(sample: _Sample, key: str, where: str, kept_out: KeptOut) -> RawSample | None:
    if sample.image is None:
        kept_out.add("sample", "no image", key)
        return None
    try:
        fields = _fields(sample, where)
        if fields.get("label") in (_UNKNOWN, -1):
            kept_out.add("sample", "a label of -1: the class is not known", key)
            return None
        if not any(name in fields for name in _LABELS):
            kept_out.add("sample", "no label in .cls, .json or .txt", f"{key} ({_found(sample, fields)})")
            return None
        labels, boxes, columns = read_labels(fields, where, "the sample")
    except DataError as error:
        reason = str(error).removeprefix(f"{where}: ").rstrip(".")
        kept_out.add("sample", "no label, or fields that cannot be used", f"{key} ({reason})")
        return None
    return RawSample(sample.image, key, labels, boxes, sample.mask, columns)


def _found(sample: _Sample, fields: Mapping[str, object]) -> str:
    """What a sample without a label has instead, for a message."""
    stated = [repr(name[:40]) for name in list(fields)[:8]]
    endings = ", ".join(f".{printable(ending)[:40]}" for ending in list(sample.endings)[:8])
    return f"it has {endings}{', its .json the fields ' + ', '.join(stated) if stated else ''}"


def _fields(sample: _Sample, where: str) -> dict[str, object]:
    """A sample as `read_labels` takes it.

    Raises:
        DataError: its JSON cannot be read.
    """
    fields: dict[str, object] = {}
    if "json" in sample.texts:
        parsed = load_json(sample.texts["json"], f"{where}.json")
        if isinstance(parsed, dict):
            fields = {str(name): value for name, value in parsed.items() if name not in ("image", "mask")}
            for other in ("cls", "class"):
                if other in fields and "label" not in fields and "labels" not in fields:
                    fields["label"] = fields.pop(other)
        else:
            fields = {"label": parsed}
    if "cls" in sample.texts:
        fields |= {"label": _line(sample.texts["cls"])}
        fields.pop("labels", None)
    elif "txt" in sample.texts and not any(name in fields for name in _LABELS):
        fields["label"] = _line(sample.texts["txt"])
    return fields


def _line(text: str) -> str:
    text = text.strip()
    return text if is_unicode(text) else text.encode("utf-8", "surrogateescape").decode("latin-1")
