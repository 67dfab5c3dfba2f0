"""Turn what a user names (files, folders, quoted globs) into an ordered list of image files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.guarding import kind_of
from onnx_gapmil.files.remote import RemotePath
from onnx_gapmil.files.wording import count

IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "gif", "bmp", "dib", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "jp2", "j2k", "avif"),
    )
)
"""File name endings, in lower case, by which a folder's or a glob's images are told from its other files."""


@dataclass(frozen=True)
class FoundImage:
    """An image file.

    Attributes:
        path: of the file.
        inside: its path within the folder, or the fixed part of the glob, that was searched; of a file that was named
            itself, its name.
    """

    path: Path
    inside: PurePath


_MAGIC = re.compile(r"[*?\[]")


def find_images(args: Sequence[str], *, others: frozenset[str] = frozenset()) -> list[Path]:
    """List the image files that the arguments name; see `locate_images`."""
    return [found.path for found in locate_images(args, others=others)]


def locate_images(
    args: Sequence[str], *, others: frozenset[str] = frozenset(), without: Path | None = None
) -> list[FoundImage]:
    """List the image files that the arguments name, and where each lies in what was named.

    - A file is taken whatever its ending: naming it is asking for it.
    - A folder is searched with all its subfolders (data sets are folders of classes); hidden files and
      folders are left out, and links to folders are not followed.
    - Anything else with `*`, `?` or `[` in it is a glob; `**` spans folders.

    The arguments' order is kept; within one, names are sorted as people count (`img2` before `img10`).
    A file that is reached twice is listed once.

    Args:
        args: what the user named.
        others: endings, in lower case, of files that are taken from a folder or a glob that has no image.
        without: a folder of results; where it lies inside a folder or a glob that is searched, it is left out.

    Raises:
        ImageError: there is no argument, one matches nothing, or one holds no image.
    """
    if not args:
        raise ImageError("No image was named; give image files, folders or a quoted glob such as 'photos/*.jpg'.")
    skipped = without.resolve() if without is not None else None
    found: dict[Path, FoundImage] = {}
    for arg in args:
        for image in _expand(arg, others, skipped):
            found.setdefault(image.path.resolve(), image)
    return list(found.values())


def natural_key(path: PurePath | RemotePath) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that compares runs of digits as numbers, letters without case, folders level by level."""
    parts: list[tuple[int, int, str]] = []
    for level in path.parts:
        for run in re.findall(r"[0-9]+|[^0-9]+", level.casefold()):
            parts.append((0, int(run), "") if run[0] in "0123456789" else (1, 0, run))
        parts.append((-1, 0, ""))
    return tuple(parts), str(path)


def _expand(arg: str, others: frozenset[str], skipped: Path | None) -> list[FoundImage]:
    path = Path(arg)
    if path.is_file():
        return [FoundImage(path, PurePath(path.name))]
    if path.is_dir():
        return _images_in_folder(path, others, skipped)
    if _MAGIC.search(arg):
        return _images_of_glob(path, others, skipped)
    if path.exists():
        raise ImageError(
            f"{arg}: this is {kind_of(path.stat())}, and an image was expected; only regular files are read."
        )
    raise ImageError(f"{arg}: no such file or folder; check the path.")


def _images_in_folder(folder: Path, others: frozenset[str], skipped: Path | None) -> list[FoundImage]:
    left_out = _inside(skipped, folder)
    images = _only_images(folder.rglob("*"), folder, left_out) or _only_images(
        folder.rglob("*"), folder, left_out, others
    )
    if not images:
        raise ImageError(f"{folder}: the folder holds no image (endings looked for: {_suffix_list()}).")
    return images


def _inside(skipped: Path | None, folder: Path) -> PurePath | None:
    """A folder that is left out, by its path within another; None where it does not lie below that."""
    if skipped is None:
        return None
    try:
        inside = skipped.relative_to(folder.resolve())
    except ValueError:
        return None
    return inside if inside.parts else None


def _images_of_glob(pattern: Path, others: frozenset[str], skipped: Path | None) -> list[FoundImage]:
    base = Path(pattern.anchor)
    parts = list(pattern.parts[1:] if pattern.anchor else pattern.parts)
    while parts and not _MAGIC.search(parts[0]):
        base /= parts.pop(0)
    try:
        matches = sorted(base.glob(str(Path(*parts))), key=natural_key)
    except (ValueError, NotImplementedError) as error:
        raise ImageError(f"{pattern}: not a glob that can be read ({error}).") from error
    if not matches:
        raise ImageError(f"{pattern}: nothing matches; check the pattern and the folder it starts from.")
    left_out = _inside(skipped, base)
    images = _only_images(matches, base, left_out) or _only_images(matches, base, left_out, others)
    if not images:
        raise ImageError(
            f"{pattern}: {count(len(matches), 'match')}, none an image (endings looked for: {_suffix_list()})."
        )
    return images


def _only_images(
    paths: Iterable[Path], root: Path, left_out: PurePath | None, suffixes: frozenset[str] = IMAGE_SUFFIXES
) -> list[FoundImage]:
    images = []
    for path in paths:
        if path.suffix.lower() not in suffixes:
            continue
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        own = left_out is not None and inside.is_relative_to(left_out)
        if not hidden and not own and path.is_file():
            images.append(FoundImage(path, inside))
    return sorted(images, key=lambda found: natural_key(found.path))


def _suffix_list() -> str:
    return " ".join(sorted(IMAGE_SUFFIXES))
