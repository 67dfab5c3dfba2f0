"""`PredictionRun`: photos through a model into a folder of pictures, arrays and ``predictions.json``."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import GapmilError, ImageError, InputError
from onnx_gapmil.files.arrays import ARRAY_SUFFIXES, is_array_file
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.libraries import library_versions
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, load_model
from onnx_gapmil.images.sources import locate_images
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.prediction.answers import FailedImage, ImagePrediction, Predictions
from onnx_gapmil.prediction.array_photos import file_is_photo
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.drawing import spelled_names
from onnx_gapmil.prediction.naming import holds_results
from onnx_gapmil.prediction.output_plan import OutputPlan
from onnx_gapmil.prediction.page.content import page_model
from onnx_gapmil.prediction.page.written import PageWish, WrittenPage
from onnx_gapmil.prediction.report import Report
from onnx_gapmil.prediction.results import Results
from onnx_gapmil.prediction.resuming import PredictJournal, settings_of
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.running.pipeline import batch_size
from onnx_gapmil.version import __version__

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish

SCHEMA_VERSION = 1
#: Whether the proof was remembered, and what it took, is no condition; nor what else is in the folder.
_NO_CONDITION = ("proof", "older_results")
#: What is said of arrays where photos have their preprocessing.
AS_THEY_ARE = "none: arrays go into the model as they are"


class PredictionRun:
    """A run over photos; to iterate over it runs and writes them, one after the other.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto.
        images: files, folders or globs: of photos, or of arrays (``.npy``, ``.npz``), which go in as they are.
        output: the folder of results, made when the first one is written; None writes none.
        preprocess: see `Classifier`, as for names, head, thresholds, provider, allow_tf32 and cuda_graph.
        classes: names or numbers of the classes to report and draw, whether they win anything or not; None for all.
        batch: photos at a time; None keeps the hardware busy.
        top: classes listed at image level.
        pictures: write a PNG for each photo and head.
        arrays: what an NPZ for each photo holds beside logits and cell rectangles; None writes none.
        no_guess: refuse a preprocessing that would be a guess.
        page: write one page of all photos; None writes none. A run with a page begins anew.
        resume: go on with a run into the same folder that was stopped: only what it has not done is answered.

    Attributes:
        classifier: the model.
        paths: of the photos, or of the arrays.
        of_arrays: whether they are arrays; of those no pictures are made, and an NPZ each always.
        done: how many of them an earlier run has done.
        note: why an earlier run is not gone on with; "" if it is, or there was none.
        older: pictures and arrays in the folder that are not of this run, by their paths in it; known once it is saved.
        results: the folder, and what was done so far; None where nothing is written.
        class_token: as it was asked for.
        page: the page of the photos; None where none is written.

    Raises:
        InputError: model, images, preprocessing, names, provider or folder will not do; see their errors.
        UnsupportedHeadError: no output has a head that can be lifted.
    """

    def __init__(
        self,
        model: str | Path | onnx.ModelProto | LoadedModel,
        images: Sequence[str],
        output: Path | None,
        *,
        preprocess: Preprocess | str | Path | None = None,
        names: str | Path | Sequence[str] | None = None,
        head: str | None = None,
        thresholds: float | str | Path | Sequence[float] | None = None,
        classes: Sequence[str | int] | None = None,
        provider: str = "auto",
        batch: int | None = None,
        top: int = 5,
        pictures: bool = True,
        arrays: Emit | None = None,
        allow_tf32: bool = False,
        cuda_graph: bool = False,
        resume: bool = False,
        no_guess: bool = False,
        class_token: ClassTokenWish | None = None,
        page: PageWish | None = None,
    ) -> None:
        self.class_token = class_token
        own = output if output is not None and holds_results(output) else None
        found = locate_images(images, others=ARRAY_SUFFIXES, without=own)
        self.paths = [image.path for image in found]
        protect(self.paths)
        self.of_arrays = _are_arrays(self.paths, model, preprocess)
        if self.of_arrays:
            if preprocess is not None:
                raise InputError("Arrays go into the model as they are; a preprocessing is for photos.")
            if page is not None:
                raise InputError("A page shows photos, and arrays are none: leave --page, or give photos.")
            pictures, arrays = False, arrays if arrays is not None or output is None else Emit(features=False)
        shown = page is not None and output is not None
        self.results = Results(output, pictures=pictures, arrays=arrays is not None) if output is not None else None
        if self.results is not None:
            self.results.plan([image.inside for image in found])
        loaded = load_model(model)
        plan = OutputPlan(arrays, pictures or shown, accelerated=choose_providers(provider).used != "cpu")
        self.classifier = Classifier(
            loaded,
            preprocess=preprocess,
            names=names,
            head=head,
            thresholds=thresholds,
            provider=provider,
            emit=None if loaded.is_rewritten else plan.emit,
            spinning=plan.accelerated,
            # Of a few photos each is to be answered soon; of many, all are.
            by_image=len(self.paths) >= 2 * thread_count(),
            allow_tf32=allow_tf32,
            cuda_graph=cuda_graph,
            no_guess=no_guess,
            class_token=class_token,
        )
        if not self.of_arrays:
            _ = self.classifier.preprocess  # a model that takes no photos says so before anything is run
        heads = self.classifier.heads
        self._outputs = plan.outputs(heads, self.classifier.readings)
        self._chosen = self.classifier.choose(classes)  # said before anything is run
        self._classes = classes
        self._batch, self._top, self._pictures, self._arrays = batch, top, pictures, arrays
        self.page: WrittenPage | None = None
        if page is not None and output is not None:
            asked = {
                "preprocess": preprocess,
                "names": names,
                "head": head,
                "thresholds": thresholds,
                "class_token": class_token,
            }
            chosen = {index for some in self._chosen if some is not None for index in some}
            told = page_model(self.classifier, asked)
            self.page = WrittenPage(output, told, page, sorted(chosen), photos=len(self.paths))
            resume = False
        self.older: list[str] = []
        self._places, self.done, self.note = list(range(len(self.paths))), 0, ""
        self._held = ExitStack()
        if output is not None:
            self._held.enter_context(locked_folder(output, "another run"))
            self._open_journal(output, resume)

    def __iter__(self) -> Iterator[ImagePrediction | ImageError]:
        """Run and write each photo, in order; one that cannot be read gives its error in its place.

        When it is left early (Ctrl-C, a full disk), what was done is in ``predictions.json``.

        Raises:
            ModelError: the model cannot be run on them.
            InputError: the folder cannot be written to, or the disk is full.
        """
        answers = self._answers()
        if self.results is None:
            with closing(answers):
                yield from answers
            return
        try:
            shown = None if self.page is None else self.page.add
            with closing(self.results.write(self.classifier, self.paths, answers, self._places, shown)) as written:
                yield from written
        except (KeyboardInterrupt, GeneratorExit, GapmilError):
            with suppress(GapmilError):  # what ended the run is told; that the report fails too is no news
                self.save(interrupted=True)
            raise

    def _open_journal(self, folder: Path, resume: bool) -> None:
        """Take over what an earlier run has done, by whole batches: each photo is answered among the same others."""
        if self.results is None:
            return
        settings = {
            "photos": [[str(path), stem] for path, stem in zip(self.paths, self.results.stems, strict=True)],
            "model file": self.classifier.rewrite.source.sha256,
            "conditions of the model": {
                key: value for key, value in self.summary().items() if key not in _NO_CONDITION
            },
            "class names": self.classifier.names.names,
            "choice of results": [
                self._top,
                self._pictures,
                str(self._arrays),
                sorted(self._outputs or ()),
                [None if chosen is None else list(chosen) for chosen in self._chosen],
            ],
            "thresholds": [reading.said_thresholds for reading in self.classifier.readings],
            "batch": [batch_size(self.classifier.session, self._batch)],
            "version of onnx-gapmil": __version__,
            "versions of libraries": library_versions(),
        }
        journal = PredictJournal(folder, settings_of(settings))
        self.results.journal = journal
        if not resume:
            return
        found, self.note = journal.find(self.paths)
        size = batch_size(self.classifier.session, self._batch)
        batches = [range(start, min(start + size, len(self.paths))) for start in range(0, len(self.paths), size)]
        self._places = [place for batch in batches if not all(place in found for place in batch) for place in batch]
        left = set(self._places)
        for place, (part, entry) in found.items():
            if place not in left:
                self.results.report.add(place, part, entry)
                if part == "images":
                    self.results.taken_over(place)
        self.done = len(self.paths) - len(self._places)

    def _answers(self) -> Generator[ImagePrediction | ImageError, None, None]:
        paths = [self.paths[place] for place in self._places]
        if self.of_arrays:
            return self.classifier.stream_arrays(
                paths, top=self._top, outputs=self._outputs, saved=self._arrays, classes=self._classes
            )
        return self.classifier.stream(
            paths,
            batch=self._batch,
            top=self._top,
            outputs=self._outputs,
            saved=self._arrays,
            keep_photos=self._pictures or self.page is not None,
            classes=self._classes,
        )

    def all(self) -> Predictions:
        """Run every photo, and write the report; the photos' own pixels are not kept."""
        images: list[ImagePrediction] = []
        failed: list[FailedImage] = []
        for path, found in zip(self.paths, self, strict=True):
            if isinstance(found, ImageError):
                failed.append(FailedImage(path, found))
            else:
                images.append(replace(found, photo=None))
        written = self.save()
        return Predictions(tuple(images), tuple(failed), self.summary(), written)

    def save(self, *, interrupted: bool = False) -> Path | None:
        """Write ``predictions.json``; None if no photo was done, or nothing is to be written.

        Raises:
            InputError: it cannot be written.
        """
        if self.results is None:
            return None
        self.older = self.results.older(self.paths)
        written = self.results.report.save(self.summary(), interrupted=interrupted)
        if self.page is not None and not interrupted:
            self.page.save()
        if self.results.journal is not None and not interrupted:
            self.results.journal.clear()
        return written

    @property
    def report(self) -> Report:
        """What ``predictions.json`` holds so far; only where a folder is written."""
        if self.results is None:
            raise ValueError("nothing is written, so there is no report")
        return self.results.report

    def summary(self) -> dict[str, Any]:
        """What every prediction of this model has in common, as JSON types."""
        model = self.classifier
        used = None if self.of_arrays else model.preprocess
        return {
            "schema_version": SCHEMA_VERSION,
            "model": model.name,
            "verdict": model.rewrite.verdict,
            "position_dependent": model.rewrite.position_dependent,
            "class_token": True if model.head.class_token is not None else None,
            "class_token_lift": model.head.class_token,
            "rewritten_in_memory": not model.rewrite.unchanged,
            "proof": model.session.proof.to_json() if model.session.proof is not None else None,
            "provider": model.session.provider,
            "preprocess": used.preprocess.to_json() if used is not None else None,
            "preprocess_source": used.source if used is not None else AS_THEY_ARE,
            "preprocess_assumed": used.assumed if used is not None else False,
            "preprocess_guessed": list(used.guessed) if used is not None else [],
            "preprocess_parts": dict(used.parts) if used is not None else {},
            "preprocess_notes": list(used.notes) if used is not None else [],
            "labels_source": model.names.source,
            "older_results": self.older,
        }

    @cached_property
    def names_note(self) -> str:
        """What is to be said where pictures cannot show names as they are; "" where they can, or none are made."""
        if not self._pictures or self.results is None:
            return ""
        return spelled_names(self.classifier.names.names) or ""

    def close(self) -> None:
        """Let go of what was kept on disk."""
        if self.results is not None:
            self.results.report.close()
            if self.results.journal is not None:
                self.results.journal.close()
        self._held.close()


def _are_arrays(paths: Sequence[Path], model: ModelSource, preprocess: Preprocess | str | Path | None) -> bool:
    """Whether the files hold arrays that go in as they are; those and photos are not run together.

    Pixels in a ``.npy`` are a photo: the first tells for all.

    Raises:
        InputError: there are both.
    """
    arrays = [path for path in paths if is_array_file(path)]
    if arrays and file_is_photo(arrays[0], load_model(model), preprocess):
        return False
    if arrays and len(arrays) != len(paths):
        photo = next(path for path in paths if not is_array_file(path))
        raise InputError(f"{arrays[0]} holds arrays and {photo} is a photo; run them one after the other.")
    return bool(arrays)
