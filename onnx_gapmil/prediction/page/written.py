"""``predictions.html`` as photos are done, one after the other, by several threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import require_replaceable
from onnx_gapmil.prediction.naming import telling_names
from onnx_gapmil.prediction.page.content import PageModel, PagePhoto, page_photo
from onnx_gapmil.prediction.page.page import PAGE, write_page

if TYPE_CHECKING:
    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.prediction.answers import ImagePrediction

#: At 300 kB each, more would make a page that no browser opens with pleasure.
MOST_PHOTOS = 200


@dataclass(frozen=True)
class PageWish:
    """What a page is to hold.

    Attributes:
        classes: of each photo the best classes whose cells are kept; None for all, or as many as there is room for.
    """

    classes: int | None = None


class WrittenPage:
    """The page of a run.

    Args:
        folder: where it goes.
        model: what is said of the model.
        wish: what to keep.
        chosen: classes to keep in any case.
        photos: where they lie.

    Raises:
        InputError: they are too many, or there is something in the page's place that must not be written over.
    """

    def __init__(
        self, folder: Path, model: PageModel, wish: PageWish, chosen: Sequence[int] = (), *, photos: Sequence[Source]
    ) -> None:
        if len(photos) > MOST_PHOTOS:
            raise InputError(
                f"A page holds {MOST_PHOTOS} photos at the most, and {len(photos):,} were given; give fewer, or leave "
                "--page."
            )
        self.path = folder / PAGE
        if folder.is_dir():
            require_replaceable(self.path)
        self._names = telling_names(photos)
        self._model, self._wish, self._chosen = model, wish, chosen
        self._photos: dict[int, PagePhoto] = {}

    def add(self, place: int, found: ImagePrediction) -> None:
        """Take a photo with its answer, while it has its pixels; by any thread."""
        name = self._names[place]
        self._photos[place] = page_photo([found], name, most=self._wish.classes, chosen=self._chosen)

    def save(self) -> None:
        """Write the page, whole; nothing if no photo was done.

        Raises:
            InputError: it cannot be written.
        """
        if not self._photos:
            return
        write_page(self.path, [self._model], [self._photos[place] for place in sorted(self._photos)])
