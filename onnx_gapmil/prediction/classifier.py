"""A model with its preprocessing and class names, ready for photos."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from onnx_gapmil.data.class_names import find_labels, read_labels
from onnx_gapmil.errors import ImageError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.images.resolve import ResolvedPreprocess, resolve_preprocess
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.prediction.answers import HeadPrediction, ImagePrediction
from onnx_gapmil.prediction.describe import Describer
from onnx_gapmil.prediction.outputs import Wanted
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.result import SCHEMA_VERSION, Rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.pipeline import Answered, iterate
from onnx_gapmil.show.drawing.pictures import render_prediction

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from onnx_gapmil.rewriting.record import HeadRecord

_GRID = Emit(features=False)


class Predictor:
    """A model with its preprocessing and class names, ready for photos.

    A model that was not rewritten is rewritten in memory.

    Args:
        model: path of an ``.onnx`` file.
        preprocess: a preset's name or a JSON file; see `resolve_preprocess`.
        labels: a file of class names; looked for beside the model if None.
        provider: where to run.
        threads: CPU threads.
        top: classes listed at image level.
        pictures: keep each photo and its whole grid, which `render` needs.
        arrays: what is to be saved of each photo beside its logits; None keeps no arrays for that.
        photos: how many there will be, if that is known: of a few, each is to be answered soon; of many, all are.
        allow_tf32: see `GridSession`.
        cuda_graph: see `GridSession`.

    Raises:
        InputError: model, preprocessing, labels or provider will not do; see their errors.
        UnsupportedHeadError: no output has a head that can be lifted.
    """

    def __init__(
        self,
        model: Path,
        *,
        preprocess: str | None = None,
        labels: Path | None = None,
        provider: str = "auto",
        threads: int | None = None,
        top: int = 5,
        pictures: bool = True,
        arrays: Emit | None = _GRID,
        photos: int | None = None,
        allow_tf32: bool = False,
        cuda_graph: bool = False,
    ) -> None:
        self.model = model
        wanted = Wanted(arrays, pictures, accelerated=choose_providers(provider).used != "cpu")
        self.rewrite: Rewrite = rewrite_model(model, emit=None if _is_rewritten(model) else wanted.emit)
        self._outputs = wanted.outputs(self.rewrite.heads, [head.activation for head in self.rewrite.heads])
        self.session = GridSession(
            _loadable(self.rewrite, model),
            provider=provider,
            threads=threads,
            spinning=not wanted.accelerated,  # decoding wants the same cores
            by_image=photos is None or photos >= 2 * (threads or thread_count()),
            allow_tf32=allow_tf32,
            cuda_graph=cuda_graph,
        )
        metadata = {entry.key: entry.value for entry in self.rewrite.model.metadata_props}
        self.preprocess: ResolvedPreprocess = resolve_preprocess(
            self.session.input, request=preprocess, model_path=model, metadata=metadata
        )
        self.top = max(1, top)
        self.labels, self.labels_source = self._find_labels(labels)
        self._keep_photos = pictures
        self._describers = [Describer(head, self.label, self.top, arrays) for head in self.session.heads]

    def _find_labels(self, path: Path | None) -> tuple[tuple[str, ...] | None, str]:
        """Class names; those found beside the model must fit, those of a model with several heads fit the first."""
        count = self._classes(self.session.heads[0])
        if path is not None:
            return read_labels(path, count), f"Class names from {path}, as asked for."
        found = find_labels(self.model, count)
        if found is None:
            return (
                None,
                "No class names were given or found beside the model: classes are shown by number (--labels).",
            )
        return found.names, found.source

    def _classes(self, head: HeadRecord) -> int:
        return int(cast("int", head.grid_shape[1]))

    def predict(
        self, images: Sequence[Path], *, batch: int | None = None
    ) -> Generator[ImagePrediction | ImageError, None, None]:
        """Run photos in batches, in order; a photo that cannot be read gives its error in its place.

        Photos are decoded while the model runs; memory does not grow with their number.

        Args:
            images: paths.
            batch: photos at a time, where the model takes more than one; see `batch_size`.

        Raises:
            ModelError: the model cannot be run on them.
        """
        answers = iterate(
            self.session,
            self.preprocess.preprocess,
            images,
            batch=batch,
            keep_photos=self._keep_photos,
            outputs=self._outputs,
        )
        with closing(answers):
            for answered in answers:
                yield answered if isinstance(answered, ImageError) else self._describe(answered)

    def _describe(self, answered: Answered) -> ImagePrediction:
        heads = tuple(
            describer.describe(found, answered.geometry)
            for describer, found in zip(self._describers, answered.grids, strict=True)
        )
        return ImagePrediction(answered.path, answered.pixels, answered.geometry, heads)

    def label(self, index: int) -> str:
        """A class's name, or its number."""
        if self.labels is None or index >= len(self.labels):
            return f"class {index}"
        return self.labels[index]

    def render(self, found: ImagePrediction, head: HeadPrediction) -> np.ndarray:
        """The picture of one head's answer to one photo: (height, width, 3) RGB uint8; needs `pictures`."""
        if found.photo is None or head.grid is None:
            raise ValueError("the photo and its grid were not kept, so there is nothing to draw")
        several = f", output {head.output}" if len(found.heads) > 1 else ""
        subtitle = f"{self.model.name}{several} · {head.verdict} head · {self.preprocess.preprocess.describe()}"
        picture: np.ndarray = render_prediction(
            found.photo,
            found.geometry,
            head.grid,
            head.logits,
            labels=[self.label(index) for index in range(len(head.logits))],
            activation=head.activation,
            title=found.image.name,
            subtitle=subtitle,
        )
        return picture

    def summary(self) -> dict[str, Any]:
        """What every prediction of this model has in common, as JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": str(self.model),
            "verdict": self.rewrite.verdict,
            "rewritten_in_memory": not self.rewrite.unchanged,
            "provider": self.session.provider,
            "preprocess": self.preprocess.preprocess.to_json(),
            "preprocess_source": self.preprocess.source,
            "preprocess_assumed": self.preprocess.assumed,
            "labels_source": self.labels_source,
        }


def _is_rewritten(model: Path) -> bool:
    return load_model(model).is_rewritten


def _loadable(rewrite: Rewrite, model: Path) -> Any:
    """What `GridSession` is given: a file that is a rewritten model is loaded by its path."""
    return model if rewrite.unchanged else rewrite
