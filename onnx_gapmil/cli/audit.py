"""``onnx-gapmil audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    READ,
    READ_OR_WORD,
    WRITTEN_FOLDER,
    batch_option,
    class_token_option,
    data_place,
    fast_decode_option,
    head_option,
    json_option,
    model_argument,
    names_option,
    no_guess_option,
    print_json,
    provider_option,
    ray_cores_option,
    ray_option,
    shard_option,
    stitch_option,
    thresholds_option,
    verb_options,
)
from onnx_gapmil.cli.output import tell
from onnx_gapmil.cli.progress import Teller
from onnx_gapmil.cli.sharding import run_job, say_shard
from onnx_gapmil.files.wording import of_are

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_gapmil.auditing import PreparedData, Progress
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.running.shards import Shard


@click.command(name="audit")
@verb_options(
    model_argument,
    click.argument("data", type=data_place, metavar="DATA"),
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FOLDER,
        default=Path("gapmil_audit"),
        show_default=True,
        metavar="FOLDER",
        help="Where summary.json, report.html, images.parquet and classes.parquet go.",
    ),
    click.option(
        "--labels",
        type=data_place,
        metavar="FILE",
        help="Labels of the images in the folder DATA: CSV, JSON-lines, COCO, ILSVRC. Of Parquet, their column.",
    ),
    names_option,
    click.option(
        "--class-map",
        type=READ,
        metavar="FILE",
        help="Which class of the model each label means, where names and numbers do not tell: JSON or CSV.",
    ),
    click.option(
        "--label-offset",
        type=int,
        metavar="N",
        help="Class = label + N, for labels that are numbers. Default: found out and announced.",
    ),
    click.option(
        "--preprocess",
        type=READ_OR_WORD,
        metavar="PRESET|FILE|auto",
        help="How photos become inputs: a preset, a JSON file, or auto: found out from a few dozen of the labelled "
        "images. Default: a JSON beside the model, what its metadata and first nodes say, and for the rest a guess "
        "that is announced.",
    ),
    no_guess_option,
    provider_option,
    class_token_option,
    head_option("to audit"),
    thresholds_option,
    click.option(
        "--size",
        metavar="HxW[,HxW...]",
        help="Height and width of the input in pixels, where they are not to be the model's own; several with commas "
        "between: the figures of each are set side by side.",
    ),
    stitch_option,
    batch_option,
    click.option(
        "--gallery",
        type=click.IntRange(0, 5000),
        default=300,
        show_default=True,
        help="Images to show in report.html, the most telling first.",
    ),
    click.option(
        "--page-classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep the cells of N classes of each of these images in report.html, to be touched there. Default: the "
        "label's, the image's best and the best of each cell, 32 at the most.",
    ),
    fast_decode_option,
    shard_option,
    ray_option,
    ray_cores_option,
    click.option("--restart", is_flag=True, help="Begin anew, even if an unfinished audit could go on."),
    json_option,
)
def command(
    model: Path,
    data: Path | str,
    output: Path,
    labels: Path | str | None,
    names: Path | None,
    class_map: Path | None,
    label_offset: int | None,
    preprocess: str | None,
    no_guess: bool,
    provider: str,
    class_token: ClassTokenWish | None,
    head: str | None,
    thresholds: str | None,
    size: str | None,
    stitch: str,
    batch: int | None,
    gallery: int,
    page_classes: int | None,
    fast_decode: bool,
    shard: Shard | None,
    ray: str | None,
    ray_cores: int | None,
    restart: bool,
    as_json: bool,
) -> int:
    """Measure what MODEL sees in the labelled images of DATA, and write a report.

    DATA is a folder of classes, a CSV or JSON-lines file, a COCO, YOLO, Pascal VOC or ILSVRC data set, or shards:
    Parquet of the Hugging Face kind, tars of WebDataset; on disk or behind a URL (s3, gs, http, zip). With boxes or
    masks the audit says, for every error, whether the object's own cells knew better. --preprocess auto finds out from
    the images how the model wants them.

    A run that was stopped goes on where it was when the same command is given again. Images that cannot be used are
    named, counted and kept out.
    """
    from onnx_gapmil.auditing import Request
    from onnx_gapmil.auditing.audit import RESULTS, audit_shard
    from onnx_gapmil.auditing.sizes import alone, audit_sizes, parse_sizes
    from onnx_gapmil.auditing.text import audit_note
    from onnx_gapmil.running.pipeline.tuning import tune_process
    from onnx_gapmil.show.terminal.console import console

    tune_process()
    request = Request(
        model=model,
        data=data,
        labels=labels,
        names=names,
        class_map=class_map,
        offset=label_offset,
        preprocess=preprocess,
        provider=provider,
        head=head,
        thresholds=thresholds,
        batch=batch,
        no_guess=no_guess,
        class_token=class_token,
        stitch=int(stitch),
        fast_decode=fast_decode,
    )
    sizes = parse_sizes(size)
    if ray is not None:
        from onnx_gapmil.validation.cluster.jobs import AuditJob

        job = AuditJob(alone(request, sizes), output, gallery, page_classes)
        return run_job(job, ray, cores=ray_cores, shard=shard, restart=restart, done="measured", as_json=as_json)
    teller = _Teller()
    teller.begin_in(output, RESULTS)
    try:
        with teller:
            if shard is not None:
                part, _ = audit_shard(
                    alone(request, sizes),
                    output,
                    shard,
                    restart=restart,
                    announce=teller.announce,
                    progress=teller.update,
                    note=teller.note,
                )
                return say_shard(part, "measured", as_json=as_json)
            summary = audit_sizes(
                request,
                sizes,
                output,
                gallery=gallery,
                page_classes=page_classes,
                restart=restart,
                announce=teller.announce,
                progress=teller.update,
                note=teller.note,
            )
    except KeyboardInterrupt:
        if teller.done:
            tell(f"{of_are(teller.done, teller.total, 'image')} measured: the same command goes on.")
        raise
    if as_json:
        print_json(summary.to_json())
    else:
        console().print(audit_note(summary, output, teller.names))
    return 0


class _Teller(Teller):
    """Of an audit."""

    #: Of the classes, by number.
    names: Mapping[int, str] | None = None

    def announce(self, classifier: Classifier, prepared: PreparedData, resumed: int, total: int) -> None:
        """Before the first image."""
        from onnx_gapmil.auditing.text import conditions_note

        self.names = dict(enumerate(classifier.class_names.names or ()))
        self.begin(conditions_note(classifier, prepared, resumed, total), resumed, total)

    def update(self, progress: Progress) -> None:
        """After every batch."""
        self.reach(progress.done)
