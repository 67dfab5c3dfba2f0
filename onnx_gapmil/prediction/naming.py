"""Under which names results are kept: those of the photos, in the subfolders in which they lay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.guarding import require_replaceable
from onnx_gapmil.running import shards

REPORT = "predictions.json"
#: What results end in.
ENDINGS = (".png", ".npz")


def result_stems(inside: Iterable[PurePath]) -> list[str]:
    """A stem for the results of each photo, with ``/`` between folders; of several with one stem all but the first get
    numbers.

    Args:
        inside: the photos' paths within what was named on the command line.
    """
    counts: dict[str, int] = {}

    def unique(stem: str) -> str:
        count = counts.get(stem, 0) + 1
        counts[stem] = count
        return stem if count == 1 else unique(f"{stem}_{count}")

    return [unique(path.with_suffix("").as_posix() if ".." not in path.parts else path.stem) for path in inside]


def telling_names(places: Sequence[Source]) -> list[str]:
    """A name for people for each photo: of its file, and of as many folders as tell it from the others.

    Args:
        places: where the photos lie.
    """
    parts = [str(place).replace("\\", "/").split("/") for place in places]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(path[-length:]) for path, length in zip(parts, lengths, strict=True)]
        counts = Counter(names)
        longer = [
            length + (counts[name] > 1 and length < len(path))
            for name, path, length in zip(names, parts, lengths, strict=True)
        ]
        if longer == lengths:
            return names
        lengths = longer


def require_places(folder: Path, stems: Sequence[str], endings: Sequence[str]) -> None:
    """Make sure, before any work is done, that results can be written into a folder.

    Args:
        folder: of the results.
        stems: see `result_stems`.
        endings: that are written of each.

    Raises:
        InputError: one of them would be written over what must not be (`require_replaceable`), or a subfolder is a link
            or no folder.
    """
    if not folder.is_dir():
        return
    require_replaceable(folder / REPORT)
    there: dict[str, frozenset[str]] = {}
    for stem in stems:
        parent, _, name = stem.rpartition("/")
        if parent not in there:
            there[parent] = _names_in(folder, parent)
        for ending in endings:
            if name + ending in there[parent]:
                require_replaceable(folder / (stem + ending))


def _names_in(folder: Path, parent: str) -> frozenset[str]:
    """What is in a subfolder already."""
    place = folder
    for part in parent.split("/") if parent else ():
        place /= part
        if place.is_symlink():
            raise InputError(f"{place} is a link to {place.readlink()}, and is not written through; remove it.")
        if not place.exists():
            return frozenset()
        if not place.is_dir():
            raise InputError(f"{place} is a file, where a folder of results belongs; choose another folder.")
    return frozenset(path.name for path in place.iterdir())


def holds_results(folder: Path) -> bool:
    """Whether a folder is one of an earlier run, finished or not."""
    kept = (".predict", shards.JOURNAL, shards.CLUSTER)
    return (folder / REPORT).is_file() or any((folder / name).is_dir() for name in kept)


def results_in(folder: Path) -> Iterator[str]:
    """What could be results in a folder and its subfolders, whoever made it: paths with ``/``, in order."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix in ENDINGS and not any(part.startswith(".") for part in inside.parts) and path.is_file():
            yield inside.as_posix()


def older_results(folder: Path, done: Iterable[str], endings: Sequence[str], photos: Iterable[Source]) -> list[str]:
    """Pictures and arrays in a result folder that are not this run's: an earlier one, or somebody else, made them.

    Args:
        folder: of the results.
        done: the stems whose results this run has written.
        endings: that it has written of each.
        photos: that this run has read, which may lie there.
    """
    stems = set(done)
    root = folder.resolve()
    read = {path.resolve() for path in photos if isinstance(path, Path)}
    return [
        name
        for name in results_in(folder)
        if not (name.endswith(tuple(endings)) and _is_of(name, stems)) and root / name not in read
    ]


def _is_of(name: str, stems: set[str]) -> bool:
    """Whether a file has the name of a result of one of the stems: ``STEM.png``, ``STEM.HEAD.png``, ``STEM.npz``."""
    stem = name.rpartition(".")[0]
    return stem in stems or (name.endswith(".png") and stem.rpartition(".")[0] in stems)
