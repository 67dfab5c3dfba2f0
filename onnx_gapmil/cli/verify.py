"""``onnx-gapmil verify``."""

from __future__ import annotations

from pathlib import Path

import click

from onnx_gapmil.cli.options import (
    json_option,
    preprocess_option,
    print_json,
    provider_option,
    verb_options,
)


@click.command(name="verify")
@verb_options(
    click.argument("original", type=click.Path(path_type=Path)),
    click.argument("rewritten", type=click.Path(path_type=Path), required=False),
    click.argument("images", nargs=-1),
    preprocess_option,
    provider_option,
    json_option,
)
def command(
    original: Path,
    rewritten: Path | None,
    images: tuple[str, ...],
    preprocess: str | None,
    provider: str,
    as_json: bool,
) -> int:
    """Prove that REWRITTEN gives ORIGINAL's outputs unchanged, and that the mean over cells is the logits.

    Runs both on random inputs, and on IMAGES (files, folders, globs) if any are given. Without REWRITTEN,
    ORIGINAL.gapmil.onnx beside the original is taken. Exit code 1 if the proof fails.
    """
    from onnx_gapmil.graph.loading import load_model
    from onnx_gapmil.rewriting.proof.photos import image_batches
    from onnx_gapmil.rewriting.saving import default_output_path
    from onnx_gapmil.rewriting.verbs import verify

    first = load_model(original)
    second = rewritten if rewritten is not None else default_output_path(original)
    batches = image_batches(first, images, preprocess) if images else []
    report = verify(first, second, batches=batches, provider=provider)
    if as_json:
        found = report.to_json()
        proof = {check.name: found.pop(check.name) for check in report.checks}
        about = {"schema_version": 1, "model": str(original), "rewritten": str(second)}
        print_json({**about, **found, "proof": proof})
    else:
        from onnx_gapmil.show.terminal.notes import console, proof_note

        console().print(proof_note(report))
    return 0 if report.passed else 1
