"""``onnx-gapmil verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    READ,
    class_token_option,
    head_option,
    json_option,
    no_guess_option,
    preprocess_option,
    print_json,
    provider_option,
    verb_options,
)
from onnx_gapmil.cli.output import say
from onnx_gapmil.files.urls import said
from onnx_gapmil.lift.tokens.modes import RECORD_DECIDES

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.rewriting.proof.report import ProofReport


@click.command(name="verify")
@verb_options(
    click.argument("original", type=READ, required=False),
    click.argument("rewritten", type=READ, required=False),
    click.argument("images", nargs=-1),
    click.option(
        "--certificate",
        type=READ,
        metavar="FILE",
        help="Replay a certificate of rewrite --certificate; the models are those that it names beside it, or those "
        "given.",
    ),
    head_option("to prove"),
    class_token_option,
    preprocess_option,
    no_guess_option,
    provider_option,
    json_option,
)
def command(
    original: Path | None,
    rewritten: Path | None,
    images: tuple[str, ...],
    certificate: Path | None,
    head: str | None,
    class_token: ClassTokenWish | None,
    preprocess: str | None,
    no_guess: bool,
    provider: str,
    as_json: bool,
) -> int:
    """Prove that REWRITTEN gives ORIGINAL's outputs unchanged, and that the mean over cells is the logits.

    How REWRITTEN lifts a class token stands in its own record: --class-token changes nothing here.

    Runs both on random inputs, and on IMAGES (files, folders, globs) if any are given. Without REWRITTEN,
    ORIGINAL.gapmil.onnx beside the original is taken. Exit code 1 if the proof fails, or does not agree with the
    certificate.
    """
    if class_token is not None and not as_json:
        say(f"note: {RECORD_DECIDES}.", err=True)
    if certificate is not None:
        if images:
            raise click.UsageError("a certificate is replayed on its own inputs; leave IMAGES out.")
        if head is not None:
            raise click.UsageError("a certificate is replayed as a whole; leave --head out.")
        from onnx_gapmil.validation.certificate.replay import replay

        report = replay(certificate, original, rewritten, provider=provider)
        code = _print(report, original, rewritten, as_json)
        if not as_json:
            say(f"{certificate}: {'it holds here' if report.passed else 'it does not hold'}.")
        return code
    if original is None:
        raise click.UsageError("name the ORIGINAL, or give --certificate FILE.")
    from onnx_gapmil.files.mirroring import fetch_beside
    from onnx_gapmil.graph.loading import load_model
    from onnx_gapmil.rewriting.proof.photos import image_batches
    from onnx_gapmil.rewriting.saving import default_output_path
    from onnx_gapmil.rewriting.verbs import verify

    first = load_model(original)
    second = rewritten
    if second is None:
        second = default_output_path(original)
        fetch_beside(original, [second.name])
    batches = image_batches(first, images, preprocess, no_guess=no_guess) if images else []
    return _print(verify(first, second, batches=batches, provider=provider, head=head), original, second, as_json)


def _print(report: ProofReport, original: Path | None, rewritten: Path | None, as_json: bool) -> int:
    """Print the proof; the exit code."""
    if as_json:
        found = report.to_json()
        proof = {check.name: found.pop(check.name) for check in report.checks}
        names = {"model": original, "rewritten": rewritten}
        about = {name: said(path) if path is not None else None for name, path in names.items()}
        print_json({"schema_version": 1, **about, **found, "proof": proof})
    else:
        from onnx_gapmil.show.terminal.console import console
        from onnx_gapmil.show.terminal.rewrite_note import proof_note

        console().print(proof_note(report))
    return 0 if report.passed else 1
