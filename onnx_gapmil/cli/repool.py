"""``onnx-gapmil repool``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    class_token_option,
    head_option,
    json_option,
    model_argument,
    print_json,
    verb_options,
)
from onnx_gapmil.cli.output import say

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish


@click.command(name="repool")
@verb_options(
    model_argument,
    click.option(
        "--with",
        "aggregator",
        required=True,
        metavar="AGGREGATOR",
        help="What gives the image's logits in place of the mean: max, lse, lse=10, topk=0.2, softmax_weighted=2, "
        "noisy_or, median, generalized_mean=3, prob_mean. mean gives the vendor's graph back.",
    ),
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where to write. Default: MODEL.repooled.onnx beside the model.",
    ),
    head_option("to repool; all heads of classes by default"),
    class_token_option,
    json_option,
)
def command(
    model: Path,
    aggregator: str,
    output: Path | None,
    head: str | None,
    class_token: ClassTokenWish | None,
    as_json: bool,
) -> int:
    """Write MODEL with another aggregator of its cells as its own pool, proved against NumPy.

    Inputs and outputs stay, and so does what stands behind the logits. Repooling a repooled file replaces its pool. A
    model that fails its proof is not written (exit code 1); a head that does not decompose, or whose logits cannot be
    replaced, is refused with a reason (exit code 3).

    Example: onnx-gapmil repool model.onnx --with lse=10 -o model.lse.onnx
    """
    from onnx_gapmil.rewriting.repooling import repool

    result = repool(model, aggregator, output, head=head, class_token=class_token)
    if as_json:
        print_json(result.to_json())
    else:
        from onnx_gapmil.lift.tokens.modes import CHANGES_NOTHING
        from onnx_gapmil.show.terminal.console import console
        from onnx_gapmil.show.terminal.repool_note import repool_note

        console().print(repool_note(result))
        if class_token is not None and not result.reads_class_token:
            say(f"note: {CHANGES_NOTHING}.")
    return 0
