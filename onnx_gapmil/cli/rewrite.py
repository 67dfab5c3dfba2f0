"""``onnx-gapmil rewrite``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    WRITTEN_FILE,
    class_token_option,
    head_option,
    json_option,
    model_argument,
    print_json,
    readout_option,
    size_option,
    verb_options,
)
from onnx_gapmil.cli.output import say

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.lift.verdict import Readout


@click.command(name="rewrite")
@verb_options(
    model_argument,
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FILE,
        metavar="FILE",
        help="Where to write. Default: MODEL.gapmil.onnx beside the model.",
    ),
    head_option("to lift; new outputs then have no suffix"),
    readout_option,
    class_token_option,
    click.option(
        "--emit",
        multiple=True,
        metavar="WHAT,...",
        help="What the graph gives beside the logits: features, grid, argmax, certainty, peaks, topk:K (the grid of "
        "the image's K best classes, nearly free), classes:3,17,..., scores:max,lse=10,... May be given several "
        "times. What is not named is not computed. Default: features,grid.",
    ),
    click.option(
        "--as-deployed",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help="Compare the vendor's outputs under ONNX Runtime's optimization too, bit for bit, and do what keeps them "
        "equal: where int8 activations cannot be read, the part of the trunk that makes the map is repeated.",
    ),
    click.option(
        "--certificate",
        type=WRITTEN_FILE,
        metavar="FILE",
        help="Write what was proved, bound to the files: verify --certificate replays it anywhere.",
    ),
    size_option,
    json_option,
)
def command(
    model: Path,
    output: Path | None,
    head: str | None,
    readout: Readout,
    class_token: ClassTokenWish | None,
    emit: tuple[str, ...],
    as_deployed: str,
    certificate: Path | None,
    size: str | None,
    as_json: bool,
) -> int:
    """Write MODEL with its prediction grid as new outputs, proved on random inputs.

    The original outputs stay first and unchanged, the weights are shared. A rewrite that fails its proof writes
    nothing (exit code 1); a head that does not decompose is refused with a reason (exit code 3).
    """
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.sizing.record import parse_size
    from onnx_gapmil.validation.certificate.certified import rewrite_certified

    result = rewrite_certified(
        model,
        output,
        readout=readout,
        emit=Emit.parse(*emit) if emit else None,
        as_deployed=as_deployed == "on",
        certificate=certificate,
        head=head,
        class_token=class_token,
        size=parse_size(size),
    )
    if as_json:
        print_json(result.to_json())
    else:
        from onnx_gapmil.lift.tokens.modes import CHANGES_NOTHING
        from onnx_gapmil.show.terminal.console import console
        from onnx_gapmil.show.terminal.rewrite_note import rewrite_note

        console().print(rewrite_note(result))
        if class_token is not None and all(head.class_token is None for head in result.heads):
            say(f"note: {CHANGES_NOTHING}.")
    return 0
