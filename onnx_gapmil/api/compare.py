"""`compare`: two models on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast, overload

from onnx_gapmil.api.arguments import key_of, path_of, place_of, text_of
from onnx_gapmil.api.on_ray import run_job
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.files.urls import given_place
from onnx_gapmil.rewriting.sizing.record import parse_size
from onnx_gapmil.running.shards import shard_of
from onnx_gapmil.validation.cluster.jobs import CompareJob
from onnx_gapmil.validation.comparing.compare import compare as run_compare
from onnx_gapmil.validation.comparing.compare import compare_shard
from onnx_gapmil.validation.comparing.request import CompareRequest, Side

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from onnx_gapmil.aggregate.aggregator import Aggregator
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.running.shards import Shard, ShardResult
    from onnx_gapmil.validation.comparing.result import Comparison


class CompareOptions(TypedDict, total=False):
    """What `compare` is asked for, beside models, data and folder; of a shard and of the whole alike."""

    labels: str | Path | None
    unlabelled: bool
    names: str | Path | None
    names_new: str | Path | None
    class_map: str | Path | None
    class_map_new: str | Path | None
    label_offset: int | None
    label_offset_new: int | None
    preprocess: str | Path | None
    preprocess_new: str | Path | None
    head: str | None
    head_new: str | None
    aggregator: Aggregator | str
    aggregator_new: Aggregator | str | None
    thresholds: float | str | Path | None
    thresholds_new: float | str | Path | None
    provider: str
    batch: int | None
    gallery: int
    page_classes: int | None
    restart: bool
    no_guess: bool
    fast_decode: bool
    progress: Callable[[int, int], None] | None
    class_token: ClassTokenWish | None
    size: tuple[int, int] | int | str | None
    size_new: tuple[int, int] | int | str | None
    stitch: int
    stitch_new: int | None
    ray: str | None
    ray_cores: int | None


@overload
def compare(
    old: str | Path,
    new: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    shard: None = None,
    **options: Unpack[CompareOptions],
) -> Comparison: ...


@overload
def compare(
    old: str | Path,
    new: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    shard: Shard | str,
    **options: Unpack[CompareOptions],
) -> ShardResult: ...


@takes_urls(
    read=("old", "new", "names", "names_new", "class_map", "class_map_new", "preprocess", "preprocess_new"),
    folder="output",
)
def compare(
    old: str | Path,
    new: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    unlabelled: bool = False,
    names: str | Path | None = None,
    names_new: str | Path | None = None,
    class_map: str | Path | None = None,
    class_map_new: str | Path | None = None,
    label_offset: int | None = None,
    label_offset_new: int | None = None,
    preprocess: str | Path | None = None,
    preprocess_new: str | Path | None = None,
    head: str | None = None,
    head_new: str | None = None,
    aggregator: Aggregator | str = "mean",
    aggregator_new: Aggregator | str | None = None,
    thresholds: float | str | Path | None = None,
    thresholds_new: float | str | Path | None = None,
    provider: str = "auto",
    batch: int | None = None,
    gallery: int = 60,
    page_classes: int | None = None,
    restart: bool = False,
    no_guess: bool = False,
    fast_decode: bool = False,
    progress: Callable[[int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    size_new: tuple[int, int] | int | str | None = None,
    stitch: int = 1,
    stitch_new: int | None = None,
    ray: str | None = None,
    ray_cores: int | None = None,
    shard: Shard | str | None = None,
) -> Comparison | ShardResult:
    """Compare two models, or two heads or aggregators of one, on the same images, and write a report.

    What the new side has no own of, it takes from the old one. A run that was stopped goes on where it was when it is
    called again with the same arguments.

    Args:
        old: path of the ``.onnx`` file that is there.
        new: path of the one that is to replace it; the same for two heads or aggregators.
        data: a labelled data set, see `open_data`; or images without labels: a file, a folder or a glob.
        output: the folder for ``compare.json``, ``report.html``, ``images.parquet`` and ``classes.parquet``.
        labels: a label file for the images of the folder ``data``.
        unlabelled: the images have no labels, or are to be compared without them.
        names: a file of class names; looked for beside the model if None.
        names_new: of the new model.
        class_map: a file that translates labels to classes.
        class_map_new: of the new model; of images without labels, from the old model's classes to the new one's.
        label_offset: class = label + offset, for labels that are numbers; found out if None.
        label_offset_new: of the new model.
        preprocess: a preset's name, a JSON file, or ``auto``; looked for beside each model if None.
        preprocess_new: of the new model.
        head: the output to compare, of a model with several; the first lifted one if None.
        head_new: of the new model.
        aggregator: what the answer is made of the cells by; ``mean`` is the model's own.
        aggregator_new: of the new side.
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file; 0.5 if None.
        thresholds_new: of the new side.
        provider: where to run.
        batch: images at a time.
        gallery: images to show in the report, those that changed most.
        page_classes: of each of these, and of either model, the classes whose cells the report keeps, to be touched
            there; the most telling 12 at most if None.
        restart: begin anew, even if an unfinished run could go on.
        no_guess: refuse a preprocessing that would be a guess; what ``auto`` finds on labelled images is none.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.
        progress: called now and then with the images done and all images.
        class_token: lift heads that read a class token, of both; see `rewrite`. A rewritten or repooled file decides by
            itself.
        size: of the input, where it is not to be the model's own; see `rewrite`.
        size_new: of the new model's.
        stitch: 2 makes the grids twice as fine, of shifted runs; see `predict`.
        stitch_new: of the new model's.
        ray: run on a Ray cluster and put the parts together: ``auto`` (one that runs here, else one of this machine
            alone), ``local`` or ``HOST:PORT``; needs ``onnx-gapmil[ray]``, and paths that all machines see.
        ray_cores: of each worker there; those of a machine, or its share of each GPU, if None.
        shard: the part to compare; see `audit`.

    Returns:
        The content of ``compare.json``; of a shard that of ``shard.json``.

    Raises:
        InputError: a model, data, labels, names, preprocessing, provider or folder will not do, or it cannot be told
            which class of one model is which of the other.
        UnsupportedHeadError: a model has no head that can be lifted.
    """
    first = Side(
        model=Path(old),
        names=path_of(names),
        class_map=path_of(class_map),
        offset=label_offset,
        preprocess=text_of(preprocess),
        head=head,
        aggregator=key_of(aggregator) or "mean",
        class_token=class_token,
        thresholds=text_of(thresholds),
        size=parse_size(size),
        stitch=stitch,
    )
    second = first.replaced(
        Path(new),
        names=path_of(names_new),
        class_map=path_of(class_map_new),
        offset=label_offset_new,
        preprocess=text_of(preprocess_new),
        head=head_new,
        aggregator=key_of(aggregator_new),
        thresholds=text_of(thresholds_new),
        size=parse_size(size_new),
        stitch=stitch_new,
    )
    request = CompareRequest(
        old=first,
        new=second,
        data=given_place(data),
        labels=place_of(labels),
        unlabelled=unlabelled,
        provider=provider,
        batch=batch,
        no_guess=no_guess,
        fast_decode=fast_decode,
    )
    told = progress if progress is not None else lambda _done, _total: None
    if ray is not None:
        job = CompareJob(request, Path(output), gallery, page_classes)
        return cast("Comparison", run_job(job, ray, ray_cores, shard, restart=restart, progress=progress).result)
    if (part := shard_of(shard)) is not None:
        return compare_shard(
            request, Path(output), part, restart=restart, progress=lambda found: told(found.done, found.total)
        )[0]
    return run_compare(
        request,
        Path(output),
        gallery=gallery,
        page_classes=page_classes,
        restart=restart,
        progress=lambda found: told(found.done, found.total),
    )
