"""Photos as a user names them: files, folders and globs, and also shards and URLs; labels are not asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from onnx_gapmil.data.files import is_image, walk
from onnx_gapmil.data.kept_out import KeptOut
from onnx_gapmil.data.shards.finding import (
    SHARDS,
    find_shards,
    folder_of_shards,
    images_in,
    instead_of_shards,
    refuse_deeper_shards,
)
from onnx_gapmil.data.shards.listing import ShardSet, is_pattern, unread_archive
from onnx_gapmil.errors import ImageError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.remote import Place, RemotePath, require_url
from onnx_gapmil.files.urls import is_url
from onnx_gapmil.images.sources import FoundImage, locate_images, natural_key


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo that was named.

    Attributes:
        path: where it lies.
        inside: its path within what was named; of a row or a member, below the name of its shard.
    """

    path: Source
    inside: PurePath


@dataclass(frozen=True, slots=True)
class FoundPhotos:
    """The photos that were named, and what of shards was left out.

    Attributes:
        photos: in order.
        notes: sentences, to be printed: what could not be used of shards, counted, the first ones named.
    """

    photos: list[FoundPhoto]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.photos)


def locate_photos(
    args: Sequence[str], *, others: frozenset[str] = frozenset(), without: Path | None = None
) -> FoundPhotos:
    """List the photos that the arguments name, and where each lies in what was named.

    A Parquet file or a tar is all of its images, as is a folder, or a pattern, of such, of whatever splits; behind a
    URL lie the same things as on disk. For all else see `locate_images`, which also tells the arguments.

    Raises:
        InputError: an argument names nothing, or nothing that is an image.
    """
    if not any(is_url(arg) or _may_be_shards(Path(arg)) for arg in args):
        return FoundPhotos(list(_plain(locate_images(args, others=others, without=without))))
    kept_out = KeptOut()
    if len(args) == 1:
        return FoundPhotos(list(_expand(args[0], others, without, kept_out)), tuple(kept_out.notes()))
    found: dict[Source, FoundPhoto] = {}
    for arg in args:
        for image in _expand(arg, others, without, kept_out):
            found.setdefault(image.path.resolve() if isinstance(image.path, Path) else image.path, image)
    return FoundPhotos(list(found.values()), tuple(kept_out.notes()))


def _plain(images: Sequence[FoundImage]) -> list[FoundPhoto]:
    return [FoundPhoto(image.path, image.inside) for image in images]


def _may_be_shards(path: Path) -> bool:
    return path.suffix.lower() in SHARDS or unread_archive(path) != "" or path.is_dir()


def _expand(arg: str, others: frozenset[str], without: Path | None, kept_out: KeptOut) -> Iterator[FoundPhoto]:
    place = require_url(arg, ImageError) if is_url(arg) else Path(arg)
    shards: ShardSet | None = None
    if (said := unread_archive(place)) and place.is_file():
        raise ImageError(f"{place}: this is {said}.")
    if place.suffix.lower() in SHARDS and (is_pattern(place) or place.is_file()):
        shards = find_shards(place, one_split=False)
    elif isinstance(place, RemotePath):
        yield from _remote(place, kept_out)
        return
    else:
        try:
            yield from _plain(locate_images([str(place)], others=others, without=without))
            return
        except ImageError as error:
            shards = folder_of_shards(place, one_split=False) if place.is_dir() else None
            if shards is None:
                raise _nearly(place, error) from error
    yield from _in_shards(shards, kept_out)


def _nearly(place: Place, error: ImageError) -> ImageError:
    """The error of a folder without images, with what it has instead.

    Raises:
        DataError: shards lie deeper.
    """
    if not place.is_dir():
        return error
    refuse_deeper_shards(place)
    said = instead_of_shards(place)
    return ImageError(f"{str(error).rstrip('.')}; {said}.") if said else error


def _in_shards(shards: ShardSet, kept_out: KeptOut) -> Iterator[FoundPhoto]:
    """Images by shard: a folder of results for each."""
    for image, shard, key in images_in(shards, kept_out):
        yield FoundPhoto(image, PurePath(shard).with_suffix("") / key)


def _remote(place: RemotePath, kept_out: KeptOut) -> Iterator[FoundPhoto]:
    if place.is_file():
        yield FoundPhoto(place, PurePath(place.name))
        return
    images = [folder / name for folder, _, names in walk(place) for name in names if is_image(name)]
    if not images and (shards := folder_of_shards(place, one_split=False)) is not None:
        yield from _in_shards(shards, kept_out)
        return
    if not images:
        raise _nearly(place, ImageError(f"{place}: the folder holds no image."))
    for image in sorted(images, key=natural_key):
        yield FoundPhoto(image, PurePath(image.relative_to(place)))
