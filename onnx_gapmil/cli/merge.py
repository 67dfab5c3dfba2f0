"""``onnx-gapmil merge``."""

from __future__ import annotations

from pathlib import Path

import click

from onnx_gapmil.cli.options import (
    READ,
    WRITTEN_FOLDER,
    data_place,
    json_option,
    verb_options,
)
from onnx_gapmil.cli.output import tell
from onnx_gapmil.cli.sharding import say_merged


@click.command(name="merge")
@verb_options(
    click.argument("folders", nargs=-1, required=True, type=READ, metavar="OUT..."),
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FOLDER,
        default=Path("gapmil_merged"),
        show_default=True,
        metavar="FOLDER",
        help="Where the results of the whole go.",
    ),
    click.option(
        "--gallery",
        type=click.IntRange(0, 5000),
        metavar="N",
        help="Images to show in report.html. Default: as audit and compare do.",
    ),
    click.option(
        "--page-classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep the cells of N classes of each of these images in report.html. Default: as audit and compare do.",
    ),
    click.option("--model", type=READ, metavar="FILE", help="Of an audit, the model, if it lies elsewhere now."),
    click.option("--data", type=data_place, metavar="DATA", help="The labelled images, if they lie elsewhere now."),
    json_option,
)
def command(
    folders: tuple[Path, ...],
    output: Path,
    gallery: int | None,
    page_classes: int | None,
    model: Path | None,
    data: Path | str | None,
    as_json: bool,
) -> int:
    """Put the results of shards together: of audit, compare or predict, each run with --shard i/N.

    OUT are the result folders of all shards, in any order. The results are those of one run over all images, to the
    last digit where the shards ran on processors of one type. A shard that is missing, there twice, unfinished or of
    another run (another model, data or options) is named, with exit code 2.

    Of an audit or a comparison the images that the report shows are run once more, so model and images must be there.
    """
    from onnx_gapmil.running.pipeline.tuning import tune_process
    from onnx_gapmil.validation.merging import merge

    tune_process()
    merged = merge(
        folders,
        output,
        gallery=gallery,
        page_classes=page_classes,
        model=model,
        data=data,
        note=lambda said: tell(f"Note: {said}"),
    )
    return say_merged(merged, output, as_json=as_json)
