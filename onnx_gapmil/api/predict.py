"""`predict`: photos in; answers, pictures and arrays out."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast, overload

from onnx_gapmil.api.arguments import path_of
from onnx_gapmil.api.on_ray import run_job
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.prediction.page.written import PageWish
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.sizing.record import parse_size
from onnx_gapmil.running.shards import shard_of
from onnx_gapmil.validation.cluster.jobs import PredictJob

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    import onnx

    from onnx_gapmil.images.preprocess import Preprocess
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.prediction.answers import Predictions
    from onnx_gapmil.prediction.merging import MergedPredictions
    from onnx_gapmil.running.shards import Shard


class PredictOptions(TypedDict, total=False):
    """What `predict` is asked for, beside model, photos and folder."""

    preprocess: Preprocess | str | Path | None
    names: str | Path | Sequence[str] | None
    head: str | None
    classes: Sequence[str | int] | None
    thresholds: float | str | Path | Sequence[float] | None
    provider: str
    batch: int | None
    top: int
    pictures: bool
    save: Emit | str | None
    no_guess: bool
    class_token: ClassTokenWish | None
    size: tuple[int, int] | int | str | None
    stitch: int
    tables: Sequence[str]
    shard: Shard | str | None
    page: bool
    fast_decode: bool


@overload
def predict(
    model: str | Path | onnx.ModelProto,
    images: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    ray: None = None,
    ray_cores: int | None = None,
    **options: Unpack[PredictOptions],
) -> Predictions: ...


@overload
def predict(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    ray: str,
    ray_cores: int | None = None,
    **options: Unpack[PredictOptions],
) -> MergedPredictions: ...


@takes_urls(read=("model", "names", "preprocess", "thresholds"), folder="output")
def predict(
    model: str | Path | onnx.ModelProto,
    images: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    preprocess: Preprocess | str | Path | None = None,
    names: str | Path | Sequence[str] | None = None,
    head: str | None = None,
    classes: Sequence[str | int] | None = None,
    thresholds: float | str | Path | Sequence[float] | None = None,
    provider: str = "auto",
    batch: int | None = None,
    top: int = 5,
    pictures: bool = True,
    save: Emit | str | None = None,
    no_guess: bool = False,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    stitch: int = 1,
    tables: Sequence[str] = (),
    shard: Shard | str | None = None,
    page: bool = False,
    fast_decode: bool = False,
    ray: str | None = None,
    ray_cores: int | None = None,
) -> Predictions | MergedPredictions:
    """Say which part of each photo speaks for which class.

    One photo in a notebook is simpler by `Classifier.predict`, which also keeps the photo and draws overlays.

    Args:
        model: path of an ``.onnx`` file, or a ModelProto. A model that was not rewritten is rewritten in memory.
        images: files, folders or globs.
        output: a folder for ``predictions.json``, pictures and arrays; None writes nothing.
        preprocess: how photos become inputs: a `Preprocess`, a preset's name, or a JSON file; looked for beside the
            model and in it if None, else guessed.
        names: class names: a file, or one for each class; looked for beside the model if None.
        head: the output to use, of a model with several; all lifted ones if None.
        classes: names or numbers of the classes to report and draw, whether they win anything or not; None for all.
        thresholds: probabilities above which a class of a multi-label head is present: a number, a file, or one for
            each class; 0.5 if None.
        provider: ``auto`` (CUDA if it works, else CPU), ``cuda``, ``cpu``, ``tensorrt``, ...
        batch: photos at a time; None keeps the hardware busy.
        top: classes listed at image level.
        pictures: write a PNG for each photo and head into ``output``.
        save: what an NPZ for each photo in ``output`` holds beside logits and cell rectangles, such as ``"grid"``;
            None writes none.
        no_guess: refuse a preprocessing that, in whole or in part, would be a guess.
        class_token: lift heads that read a class token; see `rewrite`. A rewritten or repooled file decides by itself.
        size: of the input, where it is not to be the model's own; see `rewrite`. Photos are resized and cropped by the
            same rule, to this size.
        stitch: 2 makes the grids twice as fine at the model's own size, of shifted runs; the answer stays that of the
            unshifted image, and is not the mean of a stitched grid.
        tables: what is written of all photos into ``output``: ``coco``, all boxes in ``predictions.coco.json``;
            ``parquet``, a row a photo in ``predictions.parquet``.
        shard: the part to do, as ``"0/4"``, into a folder of its own; `merge` then makes the whole of all parts.
        page: write ``predictions.html``, all photos on one page to point at, into ``output``.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.
        ray: run on a Ray cluster and put the parts together: ``auto`` (one that runs here, else one of this machine
            alone), ``local`` or ``HOST:PORT``; needs ``onnx-gapmil[ray]``, and paths that all machines see.
        ray_cores: of each worker there; those of a machine, or its share of each GPU, if None.

    Returns:
        One `ImagePrediction` for each photo that could be read, in order, with logits (K,) and grid (K, rows,
        columns), and the error of each that could not; of a run on Ray what `merge` returns, where all results lie in
        the folder.

    Raises:
        InputError: model, images, preprocessing, names, provider or folder will not do; see the errors below it.
        UnsupportedHeadError: no output has a head that can be lifted.
    """
    paths = [str(path) for path in ([images] if isinstance(images, str | Path) else images)]
    options: dict[str, Any] = {
        "preprocess": preprocess,
        "names": names,
        "head": head,
        "classes": classes,
        "thresholds": thresholds,
        "provider": provider,
        "batch": batch,
        "top": top,
        "pictures": pictures and output is not None,
        "arrays": Emit.of(save) if save is not None and output is not None else None,
        "no_guess": no_guess,
        "class_token": class_token,
        "size": parse_size(size),
        "stitch": stitch,
        "tables": tables,
        "page": PageWish() if page else None,
        "fast_decode": fast_decode,
    }
    folder = path_of(output)
    if ray is not None:
        if folder is None or not isinstance(model, str | Path):
            raise InputError("A run on Ray takes the model as a file, and needs a folder for its results.")
        job = PredictJob(Path(model), tuple(paths), folder, options)
        return cast("MergedPredictions", run_job(job, ray, ray_cores, shard, restart=False).result)
    with watched_reads(), closing(PredictionRun(model, paths, folder, shard=shard_of(shard), **options)) as run:
        return run.all()
