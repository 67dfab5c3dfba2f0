"""``onnx-gapmil compare``."""

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
    json_option,
    no_guess_option,
    print_json,
    provider_option,
    ray_cores_option,
    ray_option,
    shard_option,
    size_option,
    stitch_option,
    thresholds_option,
    verb_options,
)
from onnx_gapmil.cli.output import tell
from onnx_gapmil.cli.progress import Teller
from onnx_gapmil.cli.sharding import run_job, say_shard
from onnx_gapmil.files.wording import of_are

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.running.shards import Shard
    from onnx_gapmil.validation.comparing.running import Progress
    from onnx_gapmil.validation.comparing.sides import Sides


@click.command(name="compare")
@verb_options(
    click.argument("old", type=READ, metavar="OLD"),
    click.argument("new", type=READ, metavar="NEW"),
    click.argument("data", type=data_place, metavar="DATA"),
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FOLDER,
        default=Path("gapmil_compare"),
        show_default=True,
        metavar="FOLDER",
        help="Where compare.json, report.html, images.parquet and classes.parquet go.",
    ),
    click.option("--labels", type=data_place, metavar="FILE", help="Labels of the images in the folder DATA."),
    click.option("--unlabelled", is_flag=True, help="DATA is images without labels: files, a folder or a glob."),
    click.option("--names", type=READ, metavar="FILE", help="Class names. Default: a file beside the model."),
    click.option("--names-new", type=READ, metavar="FILE", help="The same of NEW. Default: --names."),
    click.option(
        "--class-map", type=READ, metavar="FILE", help="Which class of the model each label means: JSON or CSV."
    ),
    click.option(
        "--class-map-new",
        type=READ,
        metavar="FILE",
        help="The same of NEW; of images without labels, which class of NEW each class of OLD is.",
    ),
    click.option("--label-offset", type=int, metavar="N", help="Class = label + N, for labels that are numbers."),
    click.option("--label-offset-new", type=int, metavar="N", help="The same of NEW."),
    click.option(
        "--preprocess",
        type=READ_OR_WORD,
        metavar="PRESET|FILE|auto",
        help="How photos become inputs: a preset, a JSON file, or auto. Default: a JSON beside each model, else a "
        "guess that is announced.",
    ),
    click.option(
        "--preprocess-new",
        type=READ_OR_WORD,
        metavar="PRESET|FILE|auto",
        help="The same of NEW. Default: --preprocess.",
    ),
    click.option("--head", metavar="OUTPUT", help="The output to compare, of a model with several."),
    click.option("--head-new", metavar="OUTPUT", help="The same of NEW. Default: --head."),
    click.option(
        "--aggregator",
        default="mean",
        show_default=True,
        metavar="NAME",
        help="What the answer is made of the cells by: mean (the model's own), max, lse=10, topk=0.1, ...",
    ),
    click.option("--aggregator-new", metavar="NAME", help="The same of NEW. Default: --aggregator."),
    thresholds_option,
    click.option(
        "--thresholds-new", type=READ_OR_WORD, metavar="P|FILE", help="The same of NEW. Default: --thresholds."
    ),
    fast_decode_option,
    no_guess_option,
    provider_option,
    class_token_option,
    size_option,
    click.option("--size-new", metavar="HxW|N", help="The same of NEW. Default: --size."),
    stitch_option,
    click.option("--stitch-new", type=click.Choice(["1", "2"]), help="The same of NEW. Default: --stitch."),
    batch_option,
    click.option(
        "--gallery",
        type=click.IntRange(0, 2000),
        default=60,
        show_default=True,
        help="Images to show in report.html, those that changed most.",
    ),
    click.option(
        "--page-classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep the cells of N classes of each of these images, and of either model, in report.html, to be touched "
        "there. Default: the label's, the image's best and the best of each cell, 12 at the most.",
    ),
    shard_option,
    ray_option,
    ray_cores_option,
    click.option("--restart", is_flag=True, help="Begin anew, even if an unfinished comparison could go on."),
    json_option,
)
def command(
    old: Path,
    new: Path,
    data: Path | str,
    output: Path,
    labels: Path | str | None,
    unlabelled: bool,
    names: Path | None,
    names_new: Path | None,
    class_map: Path | None,
    class_map_new: Path | None,
    label_offset: int | None,
    label_offset_new: int | None,
    preprocess: str | None,
    no_guess: bool,
    fast_decode: bool,
    preprocess_new: str | None,
    head: str | None,
    head_new: str | None,
    aggregator: str,
    aggregator_new: str | None,
    thresholds: str | None,
    thresholds_new: str | None,
    provider: str,
    class_token: ClassTokenWish | None,
    size: str | None,
    size_new: str | None,
    stitch: str,
    stitch_new: str | None,
    batch: int | None,
    gallery: int,
    page_classes: int | None,
    shard: Shard | None,
    ray: str | None,
    ray_cores: int | None,
    restart: bool,
    as_json: bool,
) -> int:
    """Compare two models on the same images: who answers otherwise, what moved, and where.

    OLD and NEW may be one file, with another output (--head-new), aggregator (--aggregator-new) or input size
    (--size-new). DATA is a labelled data set as audit reads it, or images without labels. Each model has its own
    preprocessing, names and class map, and the grids are compared at common places of the photo.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from onnx_gapmil.rewriting.sizing.record import parse_size
    from onnx_gapmil.running.pipeline.tuning import tune_process
    from onnx_gapmil.show.terminal.console import console
    from onnx_gapmil.validation.comparing.compare import RESULTS, compare, compare_shard
    from onnx_gapmil.validation.comparing.request import CompareRequest, Side
    from onnx_gapmil.validation.comparing.text import compare_note

    tune_process()
    first = Side(
        model=old,
        names=names,
        class_map=class_map,
        offset=label_offset,
        preprocess=preprocess,
        head=head,
        aggregator=aggregator,
        class_token=class_token,
        thresholds=thresholds,
        size=parse_size(size),
        stitch=int(stitch),
    )
    second = first.replaced(
        new,
        names=names_new,
        class_map=class_map_new,
        offset=label_offset_new,
        preprocess=preprocess_new,
        head=head_new,
        aggregator=aggregator_new,
        thresholds=thresholds_new,
        size=parse_size(size_new),
        stitch=int(stitch_new) if stitch_new is not None else None,
    )
    request = CompareRequest(
        old=first,
        new=second,
        data=data,
        labels=labels,
        unlabelled=unlabelled,
        provider=provider,
        batch=batch,
        no_guess=no_guess,
        fast_decode=fast_decode,
    )
    if ray is not None:
        from onnx_gapmil.validation.cluster.jobs import CompareJob

        job = CompareJob(request, output, gallery, page_classes)
        return run_job(job, ray, cores=ray_cores, shard=shard, restart=restart, done="compared", as_json=as_json)
    teller = CompareTeller()
    teller.begin_in(output, RESULTS)
    try:
        with teller:
            if shard is not None:
                part, _ = compare_shard(
                    request, output, shard, restart=restart, announce=teller.announce, progress=teller.update
                )
                return say_shard(part, "compared", as_json=as_json)
            found = compare(
                request,
                output,
                gallery=gallery,
                page_classes=page_classes,
                restart=restart,
                announce=teller.announce,
                progress=teller.update,
            )
    except KeyboardInterrupt:
        if teller.done:
            tell(f"{of_are(teller.done, teller.total, 'image')} compared: the same command goes on.")
        raise
    if as_json:
        print_json(found.to_json())
    else:
        console().print(compare_note(found, output))
    return 0


class CompareTeller(Teller):
    """Of a comparison."""

    def announce(self, sides: Sides, resumed: int, total: int, why: str) -> None:
        """Before the first image."""
        from onnx_gapmil.validation.comparing.text import conditions_note

        self.begin(conditions_note(sides, resumed, total, why), resumed, total)

    def update(self, progress: Progress) -> None:
        """After every line of the journal."""
        self.reach(progress.done)
