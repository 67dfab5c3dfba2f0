"""`audit`: a model and labelled images in; measurements and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast, overload

from onnx_gapmil.api.arguments import path_of, place_of, text_of
from onnx_gapmil.api.on_ray import run_job
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.auditing.audit import audit_shard
from onnx_gapmil.auditing.preparation import Request
from onnx_gapmil.auditing.sizes import alone, parse_sizes
from onnx_gapmil.auditing.sizes import audit_sizes as run_audit
from onnx_gapmil.files.urls import given_place
from onnx_gapmil.running.shards import shard_of
from onnx_gapmil.validation.cluster.jobs import AuditJob

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from onnx_gapmil.auditing.summary import AuditSummary
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.running.shards import Shard, ShardResult


class AuditOptions(TypedDict, total=False):
    """What `audit` is asked for, beside model, data and folder; of a shard and of the whole alike."""

    labels: str | Path | None
    names: str | Path | None
    class_map: str | Path | None
    label_offset: int | None
    preprocess: str | Path | None
    provider: str
    head: str | None
    thresholds: float | str | Path | None
    batch: int | None
    gallery: int
    page_classes: int | None
    restart: bool
    no_guess: bool
    progress: Callable[[int, int], None] | None
    class_token: ClassTokenWish | None
    size: tuple[int, int] | int | str | list[tuple[int, int] | int | str] | None
    stitch: int
    fast_decode: bool
    ray: str | None
    ray_cores: int | None


@overload
def audit(
    model: str | Path, data: str | Path, output: str | Path, *, shard: None = None, **options: Unpack[AuditOptions]
) -> AuditSummary: ...


@overload
def audit(
    model: str | Path, data: str | Path, output: str | Path, *, shard: Shard | str, **options: Unpack[AuditOptions]
) -> ShardResult: ...


@takes_urls(read=("model", "names", "class_map", "preprocess", "thresholds"), folder="output")
def audit(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    labels: str | Path | None = None,
    names: str | Path | None = None,
    class_map: str | Path | None = None,
    label_offset: int | None = None,
    preprocess: str | Path | None = None,
    provider: str = "auto",
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    batch: int | None = None,
    gallery: int = 300,
    page_classes: int | None = None,
    restart: bool = False,
    no_guess: bool = False,
    progress: Callable[[int, int], None] | None = None,
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | list[tuple[int, int] | int | str] | None = None,
    stitch: int = 1,
    fast_decode: bool = False,
    ray: str | None = None,
    ray_cores: int | None = None,
    shard: Shard | str | None = None,
) -> AuditSummary | ShardResult:
    """Measure what a model sees in labelled images, and write a report.

    A run that was stopped goes on where it was when it is called again with the same arguments.

    Args:
        model: path of an ``.onnx`` file.
        data: a folder of classes, a CSV or JSON-lines file, or a COCO, Pascal VOC or ILSVRC data set; see `open_data`.
        output: the folder for ``summary.json``, ``report.html``, ``images.parquet`` and ``classes.parquet``.
        labels: a label file for the images of the folder ``data``.
        names: a file of the model's class names; looked for beside the model if None.
        class_map: a file that translates labels to classes.
        label_offset: class = label + offset, for labels that are numbers; found out if None.
        preprocess: a preset's name, a JSON file, or ``auto``: found out from a few dozen of the labelled images.
        provider: where to run.
        head: the output to audit, of a model with several; the first lifted one if None.
        thresholds: probabilities above which a class of a multi-label head is present: a number or a file; 0.5 if None.
        batch: images at a time.
        gallery: images to show in the report, the most telling first.
        page_classes: of each of these the classes whose cells the report keeps, to be touched there; the most telling
            32 at most if None.
        restart: begin anew, even if an unfinished run could go on.
        no_guess: refuse a preprocessing that would be a guess; what ``auto`` finds on labelled images is none.
        progress: called after every batch with the images done and all images.
        class_token: lift heads that read a class token; see `rewrite`. A rewritten or repooled file decides by itself.
        size: of the input, where it is not to be the model's own; several as a list, or as ``"224,448"``: the results
            are those of the first, with a row for each, and those of the others lie in folders below.
        stitch: 2 makes the grids twice as fine, of shifted runs; the model's own are measured beside them.
        fast_decode: decode large JPEGs smaller than they are, which is quicker and not exact.
        ray: run on a Ray cluster and put the parts together: ``auto`` (one that runs here, else one of this machine
            alone), ``local`` or ``HOST:PORT``; needs ``onnx-gapmil[ray]``, and paths that all machines see.
        ray_cores: of each worker there; those of a machine, or its share of each GPU, if None.
        shard: the part to measure, as ``"0/4"``: whole batches of this very audit, into a folder of its own; `merge`
            then makes the whole of all parts.

    Returns:
        The content of ``summary.json``; of a shard that of ``shard.json``.

    Raises:
        InputError: model, data, labels, names, preprocessing, provider or folder will not do.
        UnsupportedHeadError: the model has no head that can be lifted.
    """
    request = Request(
        model=Path(model),
        data=given_place(data),
        labels=place_of(labels),
        names=path_of(names),
        class_map=path_of(class_map),
        offset=label_offset,
        preprocess=text_of(preprocess),
        provider=provider,
        head=head,
        thresholds=text_of(thresholds),
        batch=batch,
        no_guess=no_guess,
        class_token=class_token,
        stitch=stitch,
        fast_decode=fast_decode,
    )
    told = progress if progress is not None else lambda _done, _total: None
    if ray is not None:
        job = AuditJob(alone(request, parse_sizes(size)), Path(output), gallery, page_classes)
        return cast("AuditSummary", run_job(job, ray, ray_cores, shard, restart=restart, progress=progress).result)
    if (part := shard_of(shard)) is not None:
        return audit_shard(
            alone(request, parse_sizes(size)),
            Path(output),
            part,
            restart=restart,
            progress=lambda found: told(found.done, found.total),
        )[0]
    return run_audit(
        request,
        parse_sizes(size),
        Path(output),
        gallery=gallery,
        page_classes=page_classes,
        restart=restart,
        progress=lambda found: told(found.done, found.total),
    )
