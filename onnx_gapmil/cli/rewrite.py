"""``onnx-gapmil rewrite``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import json_option, model_argument, print_json, readout_option, verb_options

if TYPE_CHECKING:
    from onnx_gapmil.lift.verdict import Readout


@click.command(name="rewrite")
@verb_options(
    model_argument,
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where to write. Default: MODEL.gapmil.onnx beside the model.",
    ),
    readout_option,
    json_option,
)
def command(model: Path, output: Path | None, readout: Readout, as_json: bool) -> int:
    """Write MODEL with its prediction grid as new outputs, proved on random inputs.

    The original outputs stay first and unchanged, the weights are shared. A rewrite that fails its proof writes
    nothing (exit code 1); a head that does not decompose is refused with a reason (exit code 3).
    """
    from onnx_gapmil.proof import rewrite

    result = rewrite(model, output, readout=readout)
    if as_json:
        print_json(result.to_json())
    else:
        from onnx_gapmil.report.notes import console, rewrite_note

        console().print(rewrite_note(result))
    return 0
