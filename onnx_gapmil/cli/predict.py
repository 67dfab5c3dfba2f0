"""``onnx-gapmil predict``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from onnx_gapmil.cli.options import (
    READ,
    WRITTEN_FOLDER,
    batch_option,
    class_token_option,
    fast_decode_option,
    head_option,
    json_option,
    model_argument,
    names_option,
    no_guess_option,
    preprocess_option,
    provider_option,
    ray_cores_option,
    ray_option,
    shard_option,
    size_option,
    stitch_option,
    thresholds_option,
    verb_options,
)
from onnx_gapmil.cli.output import say, say_document, tell
from onnx_gapmil.cli.progress import PhotoProgress
from onnx_gapmil.cli.sharding import run_job, say_shard
from onnx_gapmil.files.wording import are, count, of_are, of_were, percent

if TYPE_CHECKING:
    from collections.abc import Generator

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.prediction.answers import ImagePrediction
    from onnx_gapmil.prediction.classifier import Classifier
    from onnx_gapmil.prediction.predicting import PredictionRun
    from onnx_gapmil.running.shards import Shard

#: What can be saved beside pictures and predictions.json.
_SAVED = frozenset({"npz", "coco", "parquet"})
#: With more photos than this, only what fails is told one by one.
_TOLD_ONE_BY_ONE = 20


def _kinds(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> frozenset[str]:
    """What is to be saved."""
    kinds = frozenset(kind.strip() for text in value for kind in text.split(","))
    if other := sorted(kinds - _SAVED):
        raise click.BadParameter(f"{other[0]!r} is none of {', '.join(sorted(_SAVED))}.", context, parameter)
    return kinds


@click.command(name="predict")
@verb_options(
    model_argument,
    click.argument("images", nargs=-1, required=True, metavar="IMAGES..."),
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FOLDER,
        default=Path("gapmil_output"),
        show_default=True,
        metavar="FOLDER",
        help="Where pictures, arrays and predictions.json go.",
    ),
    names_option,
    click.option("--labels", type=READ, hidden=True),
    head_option("to show (the others are left out)"),
    click.option(
        "--classes",
        multiple=True,
        metavar="NAMES|NUMBERS",
        help="Classes to draw and to report with map and boxes, whether they win anything or not: names or numbers, "
        "with commas between, or the option several times. Default: those that win.",
    ),
    thresholds_option,
    preprocess_option,
    no_guess_option,
    provider_option,
    batch_option,
    class_token_option,
    size_option,
    stitch_option,
    click.option("--top", type=click.IntRange(1, 100), default=5, show_default=True, help="Classes to list."),
    click.option(
        "--save",
        multiple=True,
        callback=_kinds,
        metavar="npz,coco,parquet",
        help="Also save: npz, an array file for each photo with logits, grid and cell rectangles; coco, all boxes in "
        "predictions.coco.json, for Label Studio, CVAT and FiftyOne; parquet, predictions.parquet with a row for each "
        "photo. Several with commas between, or the option several times.",
    ),
    click.option(
        "--emit",
        multiple=True,
        metavar="WHAT,...",
        help="What --save npz saves beside logits and cell rectangles, and what the graph is to compute for it: see "
        "rewrite --emit. It implies --save npz. Default: grid.",
    ),
    click.option("--no-pictures", is_flag=True, help="Write no PNG."),
    click.option(
        "--page",
        is_flag=True,
        help="Also write predictions.html: all photos on one page to point at; one "
        "file, which loads nothing. A run with a page that was stopped begins anew.",
    ),
    click.option(
        "--page-classes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Keep the cells of the N best classes of each photo in the page. It implies --page. Default: all, or as "
        "many as keep a photo below 300 kB, the best of each cell among them in any case.",
    ),
    click.option("--allow-tf32", is_flag=True, help="Let CUDA round factors to 10 bits: quicker, numbers differ."),
    click.option("--cuda-graph", is_flag=True, help="Record a run's CUDA kernels once and replay them."),
    fast_decode_option,
    shard_option,
    ray_option,
    ray_cores_option,
    click.option("--restart", is_flag=True, help="Begin anew, even if a run that was stopped could go on."),
    json_option,
)
def command(
    model: Path,
    images: tuple[str, ...],
    output: Path,
    names: Path | None,
    labels: Path | None,
    head: str | None,
    classes: tuple[str, ...],
    thresholds: str | None,
    preprocess: str | None,
    no_guess: bool,
    provider: str,
    class_token: ClassTokenWish | None,
    size: str | None,
    stitch: str,
    batch: int | None,
    top: int,
    save: frozenset[str],
    emit: tuple[str, ...],
    no_pictures: bool,
    page: bool,
    page_classes: int | None,
    allow_tf32: bool,
    cuda_graph: bool,
    fast_decode: bool,
    shard: Shard | None,
    ray: str | None,
    ray_cores: int | None,
    restart: bool,
    as_json: bool,
) -> int:
    """Show which part of each photo speaks for which class.

    IMAGES are files, folders or globs. For each photo: the top classes of the whole image, the classes that win
    cells, boxes around connected cells, and a picture. A model that was not rewritten is rewritten in memory.

    Arrays are for what is no photo (signals, volumes, clips, several inputs): .npy, or .npz with one for each input by
    its name. They go in as they are, one item a file; grids are saved as NPZ, and no picture is made of them.

    A run that was stopped goes on where it was when the same command is given again.

    Exit code 2 if a photo cannot be read, or something of a shard is left out; the others are done all the same.
    """
    from onnx_gapmil.prediction.page.written import PageWish
    from onnx_gapmil.prediction.predicting import PredictionRun
    from onnx_gapmil.prediction.tables import TABLES
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.sizing.record import parse_size
    from onnx_gapmil.running.pipeline.tuning import tune_process

    tune_process()
    saved = "npz" in save or bool(emit)
    options: dict[str, Any] = {
        "preprocess": preprocess,
        "names": _names(names, labels),
        "head": head,
        "classes": classes or None,
        "thresholds": thresholds,
        "provider": provider,
        "batch": batch,
        "top": top,
        "pictures": not no_pictures,
        "arrays": Emit.parse(*(emit or ("grid",))) if saved else None,
        "allow_tf32": allow_tf32,
        "cuda_graph": cuda_graph,
        "no_guess": no_guess,
        "class_token": class_token,
        "size": parse_size(size),
        "stitch": int(stitch),
        "tables": save - {"npz"},
        "page": PageWish(page_classes) if page or page_classes is not None else None,
        "fast_decode": fast_decode,
    }
    if ray is not None:
        from onnx_gapmil.validation.cluster.jobs import PredictJob

        job = PredictJob(model, images, output, options)
        return run_job(job, ray, cores=ray_cores, shard=shard, restart=restart, done="done", as_json=as_json)
    run = PredictionRun(model, images, output, resume=not restart, shard=shard, **options)
    with closing(run):
        _announce(run)
        _follow(run, quiet=as_json or run.total > _TOLD_ONE_BY_ONE)
        if shard is not None:
            part = run.save_shard()
            say_shard(part, "done", as_json=as_json)
            return 2 if part.failed or run.left_out else 0
        written = run.save()
        if run.older:
            tell(older_sentence(run.older, output))
        if as_json:
            say_document(run.report.chunks(run.summary()))
        elif written is not None:
            drawn = not no_pictures and not run.of_arrays
            arrays = saved or run.of_arrays
            shown = [] if run.page is None else [run.page.path.name]
            kinds = [*(["pictures"] if drawn else []), *(["arrays"] if arrays else []), *shown, written.name]
            kinds += [TABLES[kind] for kind in sorted(save - {"npz"})]
            total = count(len(run.paths), "array" if run.of_arrays else "photo")
            say(f"{run.report.counts['images']:,} of {total} done; in {output}/: {', '.join(kinds)}")
        return 2 if run.report.counts["failed"] or run.left_out else 0


def older_sentence(older: list[str], folder: Path) -> str:
    """What else is in the folder, so that nobody takes it for this run's."""
    named = ", ".join(older[:5]) + (f" and {len(older) - 5:,} more" if len(older) > 5 else "")
    return f"Note: {are(len(older), 'file')} in {folder}/ not of this run: {named}."


def _names(names: Path | None, labels: Path | None) -> Path | None:
    """``--labels`` named the class names before 0.2; in the other verbs it is the images' labels."""
    if labels is None:
        return names
    if names is not None:
        raise click.UsageError("--labels is the old spelling of --names; give --names alone.")
    tell("note: --labels is the old spelling of --names here, and goes with 0.3; say --names.")
    return labels


def _follow(run: PredictionRun, *, quiet: bool) -> None:
    """Tell each photo as it is done; those that cannot be read are named."""
    from onnx_gapmil.errors import ImageError

    answers, noted = iter(run), 0
    with (
        closing(cast("Generator[object, None, None]", answers)),
        PhotoProgress(run.total, shown=quiet, what="array" if run.of_arrays else "photo", before=run.done) as bar,
    ):
        first = ""
        for found in answers:
            bar.advance()
            if isinstance(found, ImageError):
                bar.say(f"Error: {found}")
            elif not quiet:
                _tell(found)
            else:
                noted += bool(found.note)
                first = first or found.note
        if noted:
            bar.say(f"Note: of {noted} of {run.total} photos the first of these says: {first}")


def _announce(run: PredictionRun) -> None:
    """Say what is assumed, before anything is shown."""
    from onnx_gapmil.lift.tokens.modes import CHANGES_NOTHING

    model = run.classifier
    provider = model.session.provider
    lines = [
        f"model          {model.name}  ({model.rewrite.said_verdict}; "
        f"{'rewritten file' if model.rewrite.unchanged else 'rewritten in memory'})",
        *([f"proof          {model.session.proof.describe()}"] if model.session.proof is not None else []),
        *_size(model),
        *_preprocessing(run),
        f"classes        {model.names.source}",
        f"running on     {provider['used']}: {provider['reason']}",
        f"{'arrays ' if run.of_arrays else 'photos '}        {len(run.paths):,}",
    ]
    lines += [f"note           {sentence}" for sentence in run.left_out]
    if run.total < len(run.paths):
        lines.append(f"shard          {of_are(run.total, len(run.paths), 'photo')} done in this run")
    if run.done:
        done = of_were(run.done, run.total, "array" if run.of_arrays else "photo")
        lines.append(f"resumed        {done} done by an earlier run")
    lines += [f"note           {run.note}"] if run.note else []
    lines += [f"note           {run.names_note}"] if run.names_note else []
    lines += [f"note           {head.output}: {head.note}" for head in model.heads if head.note]
    if run.class_token is not None and all(head.class_token is None for head in model.heads):
        lines.append(f"note           {CHANGES_NOTHING}")
    tell("\n".join(lines) + "\n")


def _size(model: Classifier) -> list[str]:
    """At which size the model is used, where that is not its own, and what that took."""
    from onnx_gapmil.show.terminal.sizes import size_lines

    lines = size_lines(model.rewrite.size, [head.places for head in model.heads])
    return [f"{'size' if not place else '':<15}{line}" for place, line in enumerate(lines)]


def _preprocessing(run: PredictionRun) -> list[str]:
    if run.of_arrays:
        from onnx_gapmil.prediction.conditions import AS_THEY_ARE

        return [
            f"preprocessing  {AS_THEY_ARE}",
            "pictures       none: arrays are no photos; grids are in the NPZ files",
        ]
    used = run.classifier.preprocess
    return [f"preprocessing  {used.preprocess.describe()}", f"               {used.source}"]


def _tell(found: ImagePrediction) -> None:
    """A few lines about one photo."""
    from onnx_gapmil.prediction.text import head_lines

    say(str(found.image), bold=True)
    for head in found.heads:
        for line in head_lines(head, several=len(found.heads) > 1):
            say(f"  {line}")
        if head.placeless_share is not None:
            share = f"{percent(head.placeless_share, 0)} of the answer has no place and is spread evenly"
            say(f"  class token  {share}; it helps to decide who wins a cell")
        elif head.class_token is not None:
            say("  class token  how much of the answer has no place, and is spread evenly, is not known")
    if found.note:
        say(f"  note         {found.note}")
    if found.picture is not None:
        say(f"  picture      {found.picture}")
