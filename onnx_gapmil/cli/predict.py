"""``onnx-gapmil predict``."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    batch_option,
    json_option,
    model_argument,
    preprocess_option,
    provider_option,
    verb_options,
)
from onnx_gapmil.cli.progress import PhotoProgress

if TYPE_CHECKING:
    from onnx_gapmil.prediction.answers import ImagePrediction
    from onnx_gapmil.prediction.classifier import Predictor
    from onnx_gapmil.prediction.results import Results

#: With more photos than this, only what fails is told one by one.
_TOLD_ONE_BY_ONE = 20


@click.command(name="predict")
@verb_options(
    model_argument,
    click.argument("images", nargs=-1, required=True, metavar="IMAGES..."),
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        default=Path("gapmil_output"),
        show_default=True,
        metavar="FOLDER",
        help="Where pictures, arrays and predictions.json go.",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Class names: one a line, JSON, or ImageNet's synset words. Default: STEM.labels.txt or labels.txt "
        "beside the model.",
    ),
    preprocess_option,
    provider_option,
    batch_option,
    click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Classes to list."),
    click.option("--save", type=click.Choice(["npz"]), help="Also save each photo's logits, grid and cell rectangles."),
    click.option(
        "--emit",
        multiple=True,
        metavar="WHAT,...",
        help="What --save npz saves beside logits and cell rectangles, and what the graph is to compute for it: see "
        "rewrite --emit. It implies --save npz. Default: grid.",
    ),
    click.option("--no-pictures", is_flag=True, help="Write no PNG."),
    click.option("--allow-tf32", is_flag=True, help="Let CUDA round factors to 10 bits: quicker, numbers differ."),
    click.option("--cuda-graph", is_flag=True, help="Record a run's CUDA kernels once and replay them."),
    json_option,
)
def command(
    model: Path,
    images: tuple[str, ...],
    output: Path,
    labels: Path | None,
    preprocess: str | None,
    provider: str,
    batch: int | None,
    top: int,
    save: str | None,
    emit: tuple[str, ...],
    no_pictures: bool,
    allow_tf32: bool,
    cuda_graph: bool,
    as_json: bool,
) -> int:
    """Show which part of each photo speaks for which class.

    IMAGES are files, folders or globs. For each photo: the top classes of the whole image, the classes that win
    cells, boxes around connected cells, and a picture. A model that was not rewritten is rewritten in memory.

    Exit code 2 if a photo cannot be read; the others are done all the same.
    """
    from onnx_gapmil.images.sources import find_images
    from onnx_gapmil.prediction.classifier import Predictor
    from onnx_gapmil.prediction.results import Results
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.running.pipeline.tuning import tune_process

    tune_process()
    saved = save is not None or bool(emit)
    arrays = Emit.parse(*(emit or ("grid",))) if saved else None
    paths = find_images(images)
    results = Results(output, pictures=not no_pictures, arrays=saved)
    predictor = Predictor(
        model,
        preprocess=preprocess,
        labels=labels,
        provider=provider,
        top=top,
        pictures=not no_pictures,
        arrays=arrays,
        photos=len(paths),
        allow_tf32=allow_tf32,
        cuda_graph=cuda_graph,
    )
    _announce(predictor, len(paths))
    with closing(results.report) as report:
        _run(predictor, results, paths, batch, quiet=as_json or len(paths) > _TOLD_ONE_BY_ONE)
        written = report.save(predictor.summary())
        if as_json:
            for text in report.chunks(predictor.summary()):
                click.echo(text, nl=False)
        elif written is not None:
            kinds = [*([] if no_pictures else ["pictures"]), *(["arrays"] if saved else []), written.name]
            click.echo(f"{report.counts['images']} of {len(paths)} photos done; in {output}/: {', '.join(kinds)}")
        return 2 if report.counts["failed"] else 0


def _run(predictor: Predictor, results: Results, paths: list[Path], batch: int | None, *, quiet: bool) -> None:
    """Predict, write and tell each photo; those that cannot be read are named and left out."""
    from onnx_gapmil.errors import GapmilError, ImageError

    answers = results.write(predictor, paths, predictor.predict(paths, batch=batch))
    try:
        with closing(answers), PhotoProgress(len(paths), shown=quiet) as progress:
            for found in answers:
                progress.advance()
                if isinstance(found, ImageError):
                    progress.say(f"Error: {found}")
                elif not quiet:
                    _tell(found)
    except (KeyboardInterrupt, GapmilError):
        with suppress(GapmilError):  # what ended the run is told; that the report fails too is no news
            results.report.save(predictor.summary(), interrupted=True)
        raise


def _announce(predictor: Predictor, count: int) -> None:
    """Say what is assumed, before anything is shown."""
    provider = predictor.session.provider
    lines = [
        f"model          {predictor.model}  ({predictor.rewrite.verdict}; "
        f"{'rewritten file' if predictor.rewrite.unchanged else 'rewritten in memory'})",
        f"preprocessing  {predictor.preprocess.preprocess.describe()}",
        f"               {predictor.preprocess.source}",
        f"classes        {predictor.labels_source}",
        f"running on     {provider['used']}: {provider['reason']}",
        f"photos         {count}",
    ]
    lines += [f"note           {head.output}: {head.note}" for head in predictor.session.heads if head.note]
    click.echo("\n".join(lines) + "\n", err=True)


def _tell(found: ImagePrediction) -> None:
    """A few lines about one photo."""
    click.echo(click.style(str(found.image), bold=True))
    for head in found.heads:
        prefix = f"  {head.output}: " if len(found.heads) > 1 else "  "
        logits = head.activation == "none"
        top = ", ".join(
            f"{entry.label} {entry.score:.2f}" if logits else f"{entry.label} {100 * entry.score:.1f}%"
            for entry in head.top
        )
        click.echo(f"{prefix}whole image  {top}{' (logits)' if logits else ''}")
        rows, columns = head.grid_shape
        winners = ", ".join(f"{entry.label} {entry.cells}" for entry in head.winners[:6])
        more = f", {len(head.winners) - 6} more classes" if len(head.winners) > 6 else ""
        click.echo(f"  {rows}×{columns} cells  {winners}{more}")
        for box in head.boxes[:4]:
            x0, y0, x1, y1 = box.box
            click.echo(
                f"  box          {box.label}: x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f} ({box.cells} cells)"
            )
    if found.picture is not None:
        click.echo(f"  picture      {found.picture}")
