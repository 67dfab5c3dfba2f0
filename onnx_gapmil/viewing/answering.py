"""What the page of a model asks: itself, the photos that it was started with, and those that are dropped on it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnx_gapmil.data.photos import FoundPhotos, locate_photos
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.arrays import is_array_file
from onnx_gapmil.files.blob import Blob
from onnx_gapmil.files.json_text import json_text
from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.serial import to_json
from onnx_gapmil.images.decode import decode_samples, read_samples
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.naming import telling_names
from onnx_gapmil.prediction.page.content import page_model, page_photo
from onnx_gapmil.prediction.page.page import Live, page_document
from onnx_gapmil.show.html.document import content_policy, render_document

if TYPE_CHECKING:
    import numpy.typing as npt

#: Bytes that a photo that is sent may have.
MOST_BYTES = 64 * 2**20
#: Photos that a page may be started with.
MOST_PHOTOS = 500


class Answering:
    """One or two models, and the photos that they are shown.

    Args:
        models: ready for photos, the first of them the one that is pointed at.
        asked: what each was made with beside its file, by `Classifier`'s arguments.
        photos: files, folders or globs to begin with; shards of photos, or URLs of such.

    Raises:
        InputError: photos cannot be found, are no photos, lie in shards that are damaged, or are too many; or a model
            takes none.
    """

    def __init__(
        self, models: Sequence[Classifier], asked: Sequence[Mapping[str, Any]], photos: Sequence[str] = ()
    ) -> None:
        self._models = tuple(models)
        self._running = threading.Lock()
        found = locate_photos(photos) if photos else FoundPhotos([])
        self.photos = [photo.path for photo in found.photos]
        if found.notes:  # a page has no place to say so
            raise InputError(f"Not all photos can be shown: {' '.join(found.notes)}")
        if len(self.photos) > MOST_PHOTOS:
            raise InputError(f"{len(self.photos):,} photos are too many to look at; give {MOST_PHOTOS} at the most.")
        for path in self.photos:
            if is_array_file(path):
                raise InputError(f"{path} holds an array, and a page shows photos.")
        told = [page_model(model, options) for model, options in zip(models, asked, strict=True)]
        self._names = [visible(name) for name in telling_names(self.photos)]
        document = page_document(told, [], Live(MOST_BYTES, tuple(self._names)))
        self.page = render_document(document).encode("utf-8", "replace")
        self.policy = content_policy(document)

    def of_file(self, place: int) -> bytes:
        """The answers to a photo that the page was started with, as JSON.

        Raises:
            GapmilError: it cannot be read, or not be run.
        """
        path = self.photos[place]
        return self._answers(read_samples(path), self._names[place], within=isinstance(path, Blob))

    def of_bytes(self, data: bytes, name: str) -> bytes:
        """The answers to the bytes of an image file, as JSON.

        Args:
            data: the file's bytes.
            name: how it is called, and no more: nothing is read or written by it.

        Raises:
            GapmilError: they are no image, or it cannot be run.
        """
        return self._answers(decode_samples(data, name), name)

    def _answers(self, samples: npt.NDArray[Any], name: str, *, within: bool = False) -> bytes:
        with self._running:
            found = [model.predict_samples(samples) for model in self._models]
        entry = to_json(replace(page_photo(found, visible(name), live=True), within=within))
        return json_text(entry, compact=True).encode()
