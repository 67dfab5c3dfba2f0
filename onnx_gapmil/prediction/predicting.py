"""`PredictionRun`: photos through a model into a folder of pictures, arrays and ``predictions.json``."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.data.photos import locate_photos
from onnx_gapmil.errors import GapmilError, ImageError, InputError
from onnx_gapmil.files.arrays import ARRAY_SUFFIXES, is_array_file
from onnx_gapmil.files.guarding import protect
from onnx_gapmil.files.locking import locked_folder
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.writing import make_folder
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, load_model
from onnx_gapmil.ort.cpu import cpu_name, thread_count
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.prediction.answers import FailedImage, ImagePrediction, Predictions
from onnx_gapmil.prediction.array_photos import file_is_photo
from onnx_gapmil.prediction.classifier import Classifier
from onnx_gapmil.prediction.conditions import conditions_of, summary_of
from onnx_gapmil.prediction.drawing import spelled_names
from onnx_gapmil.prediction.naming import REPORT, holds_results
from onnx_gapmil.prediction.output_plan import OutputPlan
from onnx_gapmil.prediction.page.content import page_model
from onnx_gapmil.prediction.page.page import PAGE
from onnx_gapmil.prediction.page.written import PageWish, WrittenPage
from onnx_gapmil.prediction.report import Report
from onnx_gapmil.prediction.results import Results
from onnx_gapmil.prediction.resuming import JOURNAL, PredictJournal, settings_of
from onnx_gapmil.prediction.tables import TABLES, write_tables
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.resized import at_size
from onnx_gapmil.running import shards
from onnx_gapmil.running.pipeline import batch_size
from onnx_gapmil.running.shards import ShardResult, require_division
from onnx_gapmil.running.stitching import require_stitchable

if TYPE_CHECKING:
    import onnx

    from onnx_gapmil.files.blob import Source
    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.rewriting.sizing.record import Size
    from onnx_gapmil.running.shards import Shard

VERB = "predict"


class PredictionRun:
    """A run over photos; to iterate over it runs and writes them, one after the other.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto.
        images: files, folders or globs: of photos, or of arrays (``.npy``, ``.npz``), which go in as they are;
            shards of photos (Parquet, tar); or URLs of such.
        output: the folder of results, made when the first one is written; None writes none.
        preprocess: see `Classifier`, as for names, head, thresholds, provider, allow_tf32 and cuda_graph.
        classes: names or numbers of the classes to report and draw, whether they win anything or not; None for all.
        batch: photos at a time; None keeps the hardware busy.
        top: classes listed at image level.
        pictures: write a PNG for each photo and head.
        arrays: what an NPZ for each photo holds beside logits and cell rectangles; None writes none.
        no_guess: refuse a preprocessing that would be a guess.
        size: (height, width) of the input in pixels, where it is not to be the model's own; see `at_size`.
        stitch: 2 makes the grids twice as fine at the model's own size, of shifted runs (`StitchedSession`).
        page: write one page of all photos; None writes none. A run with a page begins anew.
        resume: go on with a run into the same folder that was stopped: only what it has not done is answered.
        class_token: see `Classifier`.
        tables: what is written of all photos beside ``predictions.json``: of `TABLES`.
        whole: of a shard whose folder lies in that of the whole run, that folder: its results are no photos.
        shard: the part of the run that this one is: its batches are answered, and put together with those of the other
            shards by `onnx_gapmil.prediction.merging`.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.

    Attributes:
        classifier: the model.
        paths: of the photos, or of the arrays.
        of_arrays: whether they are arrays; of those no pictures are made, and an NPZ each always.
        total: how many of them are answered: all, or the shard's.
        done: how many of these an earlier run has done.
        left_out: sentences: what of shards of photos could not be used; "photos" are the others.
        note: why an earlier run is not gone on with; "" if it is, or there was none.
        older: pictures, arrays, tables and a page in the folder that are not of this run, by their paths in it; known
            once it is saved.
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
        size: Size | None = None,
        stitch: int = 1,
        tables: Collection[str] = (),
        shard: Shard | None = None,
        whole: Path | None = None,
        page: PageWish | None = None,
        fast_decode: bool = False,
    ) -> None:
        self._fast_decode = fast_decode
        self.class_token, self._shard = class_token, shard
        if output is None and (shard is not None or tables):
            raise InputError("A shard or a table needs a folder of results.")
        results = output if whole is None else whole
        own = results if results is not None and holds_results(results) else None
        found = locate_photos(images, others=ARRAY_SUFFIXES, without=own)
        self.left_out = found.notes
        self.paths = [image.path for image in found.photos]
        protect(self.paths)
        self.of_arrays = _are_arrays(self.paths, model, preprocess)
        if self.of_arrays:
            if preprocess is not None:
                raise InputError("Arrays go into the model as they are; a preprocessing is for photos.")
            if page is not None:
                raise InputError("A page shows photos, and arrays are none: leave --page, or give photos.")
            pictures, arrays = False, arrays if arrays is not None or output is None else Emit(features=False)
        if self.of_arrays and "coco" in tables:
            raise InputError("Arrays are no photos, so that there are no boxes to save as COCO.")
        if page is not None and (shard is not None or stitch > 1):
            raise InputError(
                "A page shows all photos of a run and the model's own cells: leave --page, or --shard and --stitch."
            )
        shown = page is not None and output is not None
        self.results = None
        if output is not None:
            written = tables if shard is None else TABLES  # a shard's folder has none of them
            require_division(output, (REPORT, *(TABLES[kind] for kind in written)), shard)
            self.results = Results(output, pictures=pictures, arrays=arrays is not None, tables=tables)
            self.results.plan([image.inside for image in found.photos])
        loaded = at_size(load_model(model), size)
        if stitch > 1 and arrays is not None:
            require_stitchable(arrays)
        accelerated = choose_providers(provider).used != "cpu"
        # A stitched grid is put together here, and nothing can be reduced in the graph before.
        plan = OutputPlan(arrays, pictures or shown, accelerated=accelerated and stitch == 1)
        self.classifier = Classifier(
            loaded,
            preprocess=preprocess,
            names=names,
            head=head,
            thresholds=thresholds,
            provider=provider,
            emit=None if loaded.is_rewritten else plan.emit,
            spinning=accelerated,
            # Of a few photos each is to be answered soon; of many, all are.
            by_image=len(self.paths) >= 2 * thread_count(),
            allow_tf32=allow_tf32,
            cuda_graph=cuda_graph,
            no_guess=no_guess,
            class_token=class_token,
            stitch=stitch,
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
                "size": size,
            }
            chosen = {index for some in self._chosen if some is not None for index in some}
            told = page_model(self.classifier, asked, fast_decode=fast_decode)
            self.page = WrittenPage(output, told, page, sorted(chosen), photos=self.paths)
            resume = False
        self.older: list[str] = []
        self._places, self.done, self.note = list(range(len(self.paths))), 0, ""
        self.total = len(self.paths)
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
        journal = PredictJournal(folder, self._settings(), JOURNAL if self._shard is None else shards.JOURNAL)
        self.results.journal = journal
        size = batch_size(self.classifier.session, self._batch)
        batches = [range(start, min(start + size, len(self.paths))) for start in range(0, len(self.paths), size)]
        if self._shard is not None:
            own = self._shard.places([self.results.names[batch[0]] for batch in batches])
            batches = [batches[place] for place in own]
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        if resume:
            other = journal.settings().get("shard")
            if self._shard is not None and other not in (None, str(self._shard)):
                raise InputError(f"{folder} holds shard {other}. Choose another folder, or begin anew with --restart.")
            found, self.note = journal.find(self.paths)
        self.total = sum(map(len, batches))
        self._places = [place for batch in batches if not all(place in found for place in batch) for place in batch]
        left, own_places = set(self._places), {place for batch in batches for place in batch}
        for place, (part, entry) in found.items():
            if place in own_places and place not in left:
                self.results.report.add(place, part, entry)
                if part == "images":
                    self.results.taken_over(place)
        self.done = self.total - len(self._places)
        (folder / shards.MARK).unlink(missing_ok=True)  # until it is finished again

    def _settings(self, *, shared: bool = False) -> dict[str, str]:
        """What has to be the same for a run to go on; with ``shared``, in all shards, wherever the files lie."""
        if self.results is None:
            return {}
        files = zip(self.results.names if shared else map(str, self.paths), self.results.stems, strict=True)
        settings = {
            "photos": [list(each) for each in files],
            **conditions_of(self.classifier, self.summary(), shared=shared),
            "choice of results": [
                self._top,
                self._pictures,
                str(self._arrays),
                sorted(self._outputs or ()),
                [None if chosen is None else list(chosen) for chosen in self._chosen],
            ],
            "batch": [batch_size(self.classifier.session, self._batch)],
            **({"shard": str(self._shard)} if self._shard is not None and not shared else {}),
        }
        return settings_of(settings)

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
            fast_decode=self._fast_decode,
        )

    def all(self) -> Predictions:
        """Run every photo, and write the report; the photos' own pixels are not kept."""
        images: list[ImagePrediction] = []
        failed: list[FailedImage] = []
        for place, found in zip(self._places, self, strict=True):
            if isinstance(found, ImageError):
                name = self.results.names[place] if self.results is not None else ""
                failed.append(FailedImage(self.paths[place], found, name))
            else:
                images.append(replace(found, photo=None))
        written = self.save()
        if self._shard is not None and self.results is not None:
            self.save_shard()
        return Predictions(tuple(images), tuple(failed), self.summary(), written)

    def save(self, *, interrupted: bool = False) -> Path | None:
        """Write ``predictions.json`` and the tables; None if no photo was done, or nothing is to be written.

        Of a shard nothing of it is written: `shard_result` says what it did.

        Raises:
            InputError: it cannot be written.
        """
        if self.results is None or self._shard is not None:
            return None
        self.older = self.results.older(self.paths)
        if self.page is None and (self.results.folder / PAGE).is_file():
            self.older.append(PAGE)
        summary = self.summary()
        written = self.results.report.save(summary, interrupted=interrupted)
        if written is not None:
            report, tables = self.results.report, self.results.tables
            write_tables(self.results.folder, tables, report, summary, interrupted=interrupted)
        if self.page is not None and not interrupted:
            self.page.save()
        if self.results.journal is not None and not interrupted:
            self.results.journal.clear()
        return written

    def save_shard(self) -> ShardResult:
        """Say that the shard is finished, in its folder.

        Raises:
            InputError: it cannot be written.
        """
        if self.results is None or self._shard is None:
            raise ValueError("this is no shard")
        counts, folder = self.results.report.counts, self.results.folder
        make_folder(folder)
        result = ShardResult(
            verb=VERB,
            shard=str(self._shard),
            images=len(self.paths),
            done=counts["images"] + counts["failed"],
            failed=counts["failed"],
            folder=said(folder),
            machine=f"{cpu_name()}, {thread_count()} threads",
            identity=self._settings(shared=True) | {"files to save": " ".join(sorted(self.results.tables))},
            details={"summary": self.summary(), "tables": sorted(self.results.tables)},
        )
        result.save(folder)
        return result

    @property
    def report(self) -> Report:
        """What ``predictions.json`` holds so far; only where a folder is written."""
        if self.results is None:
            raise ValueError("nothing is written, so there is no report")
        return self.results.report

    def summary(self) -> dict[str, Any]:
        """What every prediction of this model has in common, as JSON types."""
        return summary_of(
            self.classifier,
            of_arrays=self.of_arrays,
            fast_decode=self._fast_decode,
            left_out=self.left_out,
            older=self.older,
        )

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


def _are_arrays(paths: Sequence[Source], model: ModelSource, preprocess: Preprocess | str | Path | None) -> bool:
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
