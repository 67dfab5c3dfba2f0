"""``onnx-gapmil predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnx_gapmil.cli.options import (
    json_option,
    model_argument,
    preprocess_option,
    print_json,
    provider_option,
    verb_options,
)

if TYPE_CHECKING:
    from onnx_gapmil.predict.answers import ImagePrediction
    from onnx_gapmil.predict.predictor import Predictor


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
    click.option("--batch", type=click.IntRange(1, 4096), default=8, show_default=True, help="Photos at a time."),
    click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Classes to list."),
    click.option("--save", type=click.Choice(["npz"]), help="Also save each photo's logits, grid and cell rectangles."),
    click.option("--no-pictures", is_flag=True, help="Write no PNG."),
    json_option,
)
def command(
    model: Path,
    images: tuple[str, ...],
    output: Path,
    labels: Path | None,
    preprocess: str | None,
    provider: str,
    batch: int,
    top: int,
    save: str | None,
    no_pictures: bool,
    as_json: bool,
) -> int:
    """Show which part of each photo speaks for which class.

    IMAGES are files, folders or globs. For each photo: the top classes of the whole image, the classes that win
    cells, boxes around connected cells, and a picture. A model that was not rewritten is rewritten in memory.

    Exit code 2 if a photo cannot be read; the others are done all the same.
    """
    from onnx_gapmil.images.sources import find_images
    from onnx_gapmil.predict.predictor import Predictor
    from onnx_gapmil.predict.results import Results

    paths = find_images(images)
    results = Results(output, pictures=not no_pictures, arrays=save == "npz")
    predictor = Predictor(model, preprocess=preprocess, labels=labels, provider=provider, top=top)
    _announce(predictor, len(paths))
    done, failed = _run(predictor, results, paths, batch, as_json)
    report = {**predictor.summary(), "images": done, "failed": failed}
    written = results.finish(report) if done else None
    if as_json:
        print_json(report)
    elif written is not None:
        kinds = [*([] if no_pictures else ["pictures"]), *(["arrays"] if save else []), "predictions.json"]
        click.echo(f"{len(done)} of {len(paths)} photos done; in {output}/: {', '.join(kinds)}")
    return 2 if failed else 0


def _run(
    predictor: Predictor, results: Any, paths: list[Path], batch: int, as_json: bool
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Predict, write and tell each photo; those that cannot be read are named and left out."""
    from onnx_gapmil.errors import ImageError

    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    quiet = as_json or len(paths) > 20
    with click.progressbar(
        length=len(paths), label="photos", file=sys.stderr, hidden=not quiet or not sys.stderr.isatty()
    ) as bar:
        try:
            for path, found in zip(paths, predictor.predict(paths, batch=batch), strict=True):
                bar.update(1)
                if isinstance(found, ImageError):
                    failed.append({"image": str(path), "error": str(found)})
                    click.echo(f"Error: {found}", err=True)
                    continue
                written = results.add(predictor, found)
                done.append(written.to_json())
                if not quiet:
                    _tell(written)
        except KeyboardInterrupt:
            if done:
                results.finish({**predictor.summary(), "images": done, "failed": failed, "interrupted": True})
            raise
    return done, failed


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
