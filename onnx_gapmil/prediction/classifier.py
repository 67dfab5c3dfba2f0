"""`Classifier`: model, session, preprocessing, class names and head in one; photos in, answers by place out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.aggregate.reading import Reading
from onnx_gapmil.data.class_names import ClassNames
from onnx_gapmil.data.names_by_head import NamedHead, names_by_head
from onnx_gapmil.data.stated_names import stated_names
from onnx_gapmil.errors import ImageError, InputError, PreprocessError
from onnx_gapmil.files.arrays import read_arrays
from onnx_gapmil.files.blob import Source
from onnx_gapmil.graph.loading import LoadedModel, load_model
from onnx_gapmil.images.preprocess import Preprocess
from onnx_gapmil.images.resolve import ResolvedPreprocess
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.prediction.answers import ImagePrediction
from onnx_gapmil.prediction.described_heads import DescribedHead, channels, choose_of_heads, reading_of
from onnx_gapmil.prediction.drawing import draw_prediction
from onnx_gapmil.prediction.head_answer import HeadPrediction
from onnx_gapmil.prediction.one_image import Image, OneImage
from onnx_gapmil.prediction.photo_input import photo_input
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.head_choice import place_of_head
from onnx_gapmil.rewriting.in_memory import rewrite_in_memory
from onnx_gapmil.rewriting.resized import at_size
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.sizing.record import Size, parse_size
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.pipeline import iterate
from onnx_gapmil.running.stitching import FACTOR, StitchedSession

if TYPE_CHECKING:
    from collections.abc import Collection

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.rewriting.record import HeadRecord

_GRID = Emit(features=False)


class Classifier:
    """A model ready for photos, or for arrays: signals, volumes, clips, several inputs.

    A model that was not rewritten is rewritten in memory. The model is read once.

    >>> Classifier("sample_models/digits_torch_legacy.onnx").predict("sample_models/scenes/scene_00.png").grid.shape
    (10, 12, 12)

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or what `rewrite` gave.
        preprocess: how photos become inputs: a `Preprocess`, a preset's name, or a JSON file. None looks beside the
            model and in it, else guesses from its input; `preprocess.source` says which.
        names: class names: a file of them, or one for each class (of one logit two, or the one that it is for); looked
            for beside the model if None. They belong to the heads with that many classes.
        head: the output to use, of a model with several; all lifted ones if None.
        thresholds: probabilities above which a class of a multi-label head is present: a number, a file, or one for
            each class; 0.5 if None. A head of bare logits is read as multi-label by them.
        provider: where to run; see `GridSession`, as for what follows.
        threads: CPU threads.
        emit: what a model that was not rewritten is to give beside the logits; the prediction grid by default.
        spinning: let idle CPU threads wait busily; decoding wants the same cores.
        by_image: give each CPU thread photos of its own: quicker for many, slower for one.
        allow_tf32: let CUDA round the factors of convolutions and products to 10 bits.
        cuda_graph: record all kernels of a run once and replay them, on CUDA.
        no_guess: refuse to prepare photos where the preprocessing, or a part of it, would be a guess.
        class_token: lift heads that read a class token, of a model that was not rewritten; None refuses them.
        size: (height, width) of the input in pixels, or one number for both, where it is not to be the model's own.
            What the graph fixes is opened where its trunk allows it; photos are prepared by the same rule, to this
            size.
        stitch: 2 makes the grids twice as fine at the model's own size, of shifted runs (`StitchedSession`).

    Attributes:
        rewrite: the rewritten model, and what was found on the way.
        session: runs it.
        heads: the heads that are described; the first is the one that `head` and `names` are of.
        names: of the `classes` of that head, and where they come from.

    Raises:
        ModelError: the model cannot be read or run.
        UnsupportedHeadError: no output has a head that can be lifted.
        InputError: ``head`` is no lifted output; or preprocessing, names or provider will not do: see
            `PreprocessError`, `LabelsError`, `ProviderError`.
    """

    def __init__(
        self,
        model: str | Path | onnx.ModelProto | LoadedModel | Rewrite,
        *,
        preprocess: Preprocess | str | Path | None = None,
        names: str | Path | Sequence[str] | None = None,
        head: str | None = None,
        thresholds: float | str | Path | Sequence[float] | None = None,
        provider: str = "auto",
        threads: int | None = None,
        emit: Emit | str | None = None,
        spinning: bool = False,
        by_image: bool = False,
        allow_tf32: bool = False,
        cuda_graph: bool = False,
        no_guess: bool = False,
        class_token: ClassTokenWish | None = None,
        size: Size | int | str | None = None,
        stitch: int = 1,
    ) -> None:
        if isinstance(model, Rewrite):
            self.rewrite = model
        else:
            self.rewrite = _rewritten(at_size(load_model(model), parse_size(size)), emit, class_token)
        self.session = _session_kind(stitch)(
            self.rewrite,
            provider=provider,
            threads=threads,
            spinning=spinning,
            by_image=by_image,
            allow_tf32=allow_tf32,
            cuda_graph=cuda_graph,
        )
        self._place = 0 if head is None else place_of_head(self.rewrite, head)
        self._photos = photo_input(self.rewrite, self.session, preprocess, no_guess=no_guess)
        how = self._photos.found
        # Where the graph resizes for itself, cells lie in proportion to what it is given.
        records = [
            entry if isinstance(how, PreprocessError) else entry.at(how.preprocess.size) for entry in self.session.heads
        ]
        named = [NamedHead(found.output, channels(found), found.features_of != ()) for found in records]
        stated = stated_names(self.rewrite.source.proto)
        all_names = names_by_head(self.path, named, asked=names, stated=stated, wanted=head)
        self._all = tuple(
            DescribedHead(
                place, record, of_classes, reading_of(record, of_classes, thresholds if place == self._place else None)
            )
            for place, (record, of_classes) in enumerate(zip(records, all_names, strict=True))
        )
        self._asked = self._all if head is None else (self._all[self._place],)
        self.heads = tuple(head.record for head in self._asked)
        self.names = self._all[self._place].names

    @property
    def path(self) -> Path | None:
        """Where the model lies; None for one in memory."""
        return self.rewrite.source.path

    @property
    def name(self) -> str:
        """The model's name for people: its path, or its graph's name."""
        return self.rewrite.source.name

    @property
    def preprocess(self) -> ResolvedPreprocess:
        """How photos become inputs, where that comes from, and whether it was guessed.

        Raises:
            PreprocessError: the model takes no photo: arrays go in as they are. Or it would be a guess, which
                ``no_guess`` forbids.
        """
        return self._photos.resolved

    @property
    def place(self) -> int:
        """Which of the session's heads is `head`."""
        return self._place

    @property
    def head(self) -> HeadRecord:
        """The head that was asked for, or the first."""
        return self._all[self._place].record

    def require_classes(self) -> None:
        """Make sure that the head is of classes, whose answers can be right or wrong.

        Raises:
            UnsupportedHeadError: it is features, and the head of classes that is made of them is refused.
            InputError: it is features, and another head is of classes.
        """
        made = self.head.features_of
        if not made:
            return
        refused = {output: self.rewrite.refusals[output] for output in made if output in self.rewrite.refusals}
        if refused and not any(not head.features_of for head in self.session.heads):
            raise UnsupportedHeadError(next(iter(refused.values())), refused)
        raise InputError(
            f"{self.name}: '{self.head.output}' is features that {', '.join(map(repr, made))} "
            f"{'is' if len(made) == 1 else 'are'} made of, and no classes, so that there is no right answer; name the "
            "output that is of classes with --head."
        )

    @property
    def logits(self) -> int:
        """K, the number of logits."""
        return channels(self.head)

    @property
    def classes(self) -> int:
        """The number of classes; a model of one logit has two: 0 without, 1 with what it looks for."""
        return max(2, self.logits)

    @property
    def reading(self) -> Reading:
        """How the head's logits are read: one of many classes, two by one logit, or multi-label with its thresholds."""
        return self._all[self._place].reading

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Of the `heads`."""
        return tuple(head.reading for head in self._asked)

    @property
    def class_names(self) -> ClassNames:
        """Names of the `classes`."""
        return self.names

    @property
    def names_of_heads(self) -> tuple[Sequence[str] | None, ...]:
        """Of the `heads`, the names of the classes; None where nothing names them."""
        return tuple(head.names.names for head in self._asked)

    @property
    def named_heads(self) -> tuple[str, ...]:
        """The outputs of the session's heads whose classes have names."""
        return tuple(head.record.output for head in self._all if head.names.names is not None)

    @property
    def arranged(self) -> bool:
        """Whether the cells have known rows and columns; without them nothing is said of places."""
        return self.head.arranged

    @property
    def independent(self) -> bool:
        """Whether several classes may be true at once: the model ends in a sigmoid for each of several logits."""
        return self.reading.multi_label

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, images: Image, *, top: int = ..., classes: Sequence[str | int] | None = ...
    ) -> ImagePrediction: ...
    @overload
    def predict(
        self, images: Sequence[Image], *, top: int = ..., classes: Sequence[str | int] | None = ...
    ) -> list[ImagePrediction]: ...
    def predict(
        self, images: Image | Sequence[Image], *, top: int = 5, classes: Sequence[str | int] | None = None
    ) -> ImagePrediction | list[ImagePrediction]:
        """What the model says of a photo and of each of its places; of several photos, a list.

        For more photos than memory holds, see `stream`. Arrays (a ``.npy`` or ``.npz`` file, an array of any other
        shape and type than pixels, or arrays by input) go in as they are: nothing is preprocessed, nothing is drawn.

        Args:
            images: a path, or pixels (H, W, 3) RGB uint8; or an array, or arrays by input, of one item, with or without
                the batch's axis; or several of them.
            top: classes listed at image level.
            classes: names or numbers of those to report and draw, whether they win anything or not; None for all.

        Raises:
            ImageError: a file cannot be read.
            InputError: an array does not fit the model's input, or holds several items; or there is no such class.
            ModelError: the model cannot be run, or does not give the prediction grid.
        """
        one = self._one_image(top, None, classes)
        if isinstance(images, str | Path | np.ndarray | Mapping):
            return one.of(images)
        return [one.of(image) for image in images]

    def predict_samples(self, samples: npt.NDArray[Any], *, top: int = 5) -> ImagePrediction:
        """What the model says of a photo that was decoded already.

        Args:
            samples: as `onnx_gapmil.images.decode.decode_samples` gives them: a photo, whatever the model takes.
            top: classes listed at image level.

        Raises:
            ImageError: the photo has no size that the preprocessing can make an input of.
            PreprocessError: the model takes no photos.
            ModelError: the model cannot be run, or does not give the prediction grid.
        """
        return self._one_image(top, None).of_samples(samples)

    def stream(
        self,
        images: Sequence[Source],
        *,
        batch: int | None = None,
        top: int = 5,
        outputs: Collection[str] = ("grid",),
        saved: Emit | None = None,
        keep_photos: bool = False,
        classes: Sequence[str | int] | None = None,
        fast_decode: bool = False,
    ) -> Generator[ImagePrediction | ImageError, None, None]:
        """Run photos in batches, in order; one that cannot be read gives its error in its place.

        Photos are decoded while the model runs; memory does not grow with their number.

        Args:
            images: paths.
            batch: photos at a time, where the model takes more than one; None keeps the hardware busy.
            top: classes listed at image level.
            outputs: names of `PredictionGrid`'s arrays to fetch: the grid, or argmax, certainty, peaks and scores.
            saved: arrays that each prediction is to hold for a file; None for none.
            keep_photos: keep the pixels, which `render` and overlays need.
            classes: see `predict`.
            fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.

        Raises:
            InputError: there is no such class.
            ModelError: the model cannot be run on them.
        """
        one = self._one_image(top, saved, classes)
        answers = iterate(
            self.session,
            self.preprocess.preprocess,
            images,
            batch=batch,
            keep_photos=keep_photos,
            outputs=outputs,
            fast_decode=fast_decode,
        )
        with closing(answers):
            for found in answers:
                if isinstance(found, ImageError):
                    yield found
                else:
                    answer = one.described(found.path, found.pixels, found.geometry, found.grids)
                    yield replace(answer, note=found.note) if found.note else answer

    def stream_arrays(
        self,
        files: Sequence[Source],
        *,
        top: int = 5,
        outputs: Collection[str] = ("grid",),
        saved: Emit | None = None,
        classes: Sequence[str | int] | None = None,
    ) -> Generator[ImagePrediction | ImageError, None, None]:
        """Run files of arrays, one item each, in order; one that cannot be read gives its error in its place.

        Args:
            files: ``.npy`` and ``.npz``; see `onnx_gapmil.files.arrays`.
            top: see `stream`, as for what follows.
            outputs: of the graph.
            saved: arrays that each prediction is to hold for a file.
            classes: see `predict`.

        Raises:
            InputError: there is no such class.
            ModelError: the model cannot be run on them.
        """
        one = self._one_image(top, saved, classes)
        for path in files:
            try:
                arrays = read_arrays(path, list(self.session.inputs.by_name))
                found = one.of_arrays(path, arrays, outputs)
            except ImageError as error:
                yield error
            except InputError as error:
                yield ImageError(f"{path}: {error}")
            else:
                yield found

    def render(self, found: ImagePrediction, head: HeadPrediction | None = None) -> npt.NDArray[np.uint8]:
        """The picture of a head's answer to a photo: photo, winners, evidence, scores.

        Args:
            found: with its photo and grid.
            head: which of its heads; the first if None.

        Returns:
            (height, width, 3) RGB uint8.

        Raises:
            InputError: the photo or the grid was not kept.
        """
        chosen = found.heads[0] if head is None else head
        if found.photo is None or chosen.grid is None or found.geometry is None:
            raise InputError("the photo and its grid were not kept, so there is nothing to draw.")
        model = self.path.name if self.path is not None else self.name
        return draw_prediction(found, chosen, model=model, path=self.path, used=self.preprocess)

    def choose(self, classes: Sequence[str | int] | None) -> tuple[tuple[int, ...] | None, ...]:
        """The numbers of classes that are asked for, for each of the `heads`; None for all of a head's classes.

        They are of every head that has all of them.

        Raises:
            InputError: no head has all of them.
        """
        return choose_of_heads(self._asked, classes)

    def _one_image(self, top: int, saved: Emit | None, classes: Sequence[str | int] | None = None) -> OneImage:
        describers = [
            (head.place, head.describer(top, saved, chosen))
            for head, chosen in zip(self._asked, self.choose(classes), strict=True)
        ]
        return OneImage(self.session, self._photos, describers)

    def __repr__(self) -> str:
        how = "none: arrays go in as they are"
        if not isinstance(self._photos.found, PreprocessError):
            guessed = " (guessed)" if self._photos.found.assumed else ""
            how = f"{self._photos.found.preprocess.describe()}{guessed}"
        used = self.session.provider["used"]
        return (
            f"Classifier of {self.name}\n"
            f"  head           {self.head.output!r}, {self.head.said_verdict}, {self.logits} logits, "
            f"grid {' x '.join(map(str, self.head.grid_shape[2:]))}\n"
            f"  preprocessing  {how}\n"
            f"  classes        {self.names.source}\n"
            f"  running on     {used}"
        )


def _session_kind(stitch: int) -> type[GridSession]:
    """What runs the model.

    Raises:
        InputError: grids cannot be made so many times as fine.
    """
    if stitch not in (1, FACTOR):
        raise InputError(
            f"--stitch {stitch}: grids are stitched to be {FACTOR} times as fine, or left as they are (1)."
        )
    return GridSession if stitch == 1 else StitchedSession


def _rewritten(loaded: LoadedModel, emit: Emit | str | None, class_token: ClassTokenWish | None) -> Rewrite:
    """A file that was rewritten before gives what it gives."""
    wish = emit if loaded.is_rewritten else Emit.of(emit if emit is not None else _GRID)
    return rewrite_in_memory(loaded, emit=wish, class_token=class_token)
