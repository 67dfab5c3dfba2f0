"""``onnx-gapmil view``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    READ,
    READ_OR_WORD,
    class_token_option,
    head_option,
    json_option,
    model_argument,
    names_option,
    no_guess_option,
    preprocess_option,
    provider_option,
    size_option,
    thresholds_option,
    verb_options,
)
from onnx_gapmil.cli.output import say, say_document, tell

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish


@click.command(name="view")
@verb_options(
    model_argument,
    click.argument("photos", nargs=-1, metavar="[NEW.onnx] [PHOTOS]..."),
    names_option,
    head_option("to show (the others are left out)"),
    thresholds_option,
    preprocess_option,
    no_guess_option,
    click.option("--names-new", type=READ, metavar="FILE", help="Class names of NEW, as --names of MODEL."),
    click.option("--preprocess-new", type=READ_OR_WORD, metavar="PRESET|FILE", help="How photos become inputs of NEW."),
    click.option("--head-new", metavar="OUTPUT", help="The output of NEW to show, of a model with several."),
    provider_option,
    class_token_option,
    size_option,
    click.option(
        "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="To listen on. Default: any that is free."
    ),
    click.option("--no-browser", is_flag=True, help="Do not open the page, only say its address."),
    json_option,
)
def command(
    model: Path,
    photos: tuple[str, ...],
    names: Path | None,
    head: str | None,
    thresholds: str | None,
    preprocess: str | None,
    no_guess: bool,
    names_new: Path | None,
    preprocess_new: str | None,
    head_new: str | None,
    provider: str,
    class_token: ClassTokenWish | None,
    size: str | None,
    port: int,
    no_browser: bool,
    as_json: bool,
) -> int:
    """Look and touch: a page on this machine, on which photos are dropped and every cell can be pointed at.

    PHOTOS are files, folders or globs to begin with. A second .onnx file is shown beside the first, with the same
    photos: one under the pointer of the other.

    The page is served on 127.0.0.1 alone, to who knows the random token in its address; photos stay on this machine.
    Ctrl-C ends it.
    """
    from onnx_gapmil.api import view
    from onnx_gapmil.files.json_text import json_text
    from onnx_gapmil.rewriting.result import SCHEMA_VERSION

    new = photos[0] if photos and photos[0].lower().endswith(".onnx") else None
    if new is None and (names_new or preprocess_new or head_new):
        raise click.UsageError("--names-new, --preprocess-new and --head-new are of a second model; none is given.")

    def ready(url: str) -> None:
        if as_json:
            say_document([json_text({"schema_version": SCHEMA_VERSION, "url": url}, compact=True) + "\n"])
        else:
            say(url)
            tell("Ctrl-C ends it.")

    view(
        model,
        photos if new is None else photos[1:],
        new=new,
        preprocess=preprocess,
        names=names,
        head=head,
        thresholds=thresholds,
        preprocess_new=preprocess_new,
        names_new=names_new,
        head_new=head_new,
        provider=provider,
        class_token=class_token,
        size=size,
        no_guess=no_guess,
        port=port,
        browser=not no_browser,
        ready=ready,
    )
    return 0
