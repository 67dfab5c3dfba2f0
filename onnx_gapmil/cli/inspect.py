"""``onnx-gapmil inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    class_token_option,
    head_option,
    json_option,
    model_argument,
    names_option,
    print_json,
    size_option,
    verb_options,
)
from onnx_gapmil.cli.output import say

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish


@click.command(name="inspect")
@verb_options(model_argument, names_option, head_option("to look at"), class_token_option, size_option, json_option)
def command(
    model: Path,
    names: Path | None,
    head: str | None,
    class_token: ClassTokenWish | None,
    size: str | None,
    as_json: bool,
) -> int:
    """Say what MODEL is: its input, its exporter, its head operator by operator, every other pool and why it is not
    the head's, and the verdict. Writes nothing.

    Exit code 3 if no output has a head that can be lifted.
    """
    from onnx_gapmil.rewriting.inspection import inspect

    found = inspect(model, names=names, head=head, class_token=class_token, size=size)
    if as_json:
        print_json(found.to_json())
    else:
        from onnx_gapmil.lift.tokens.modes import CHANGES_NOTHING
        from onnx_gapmil.show.terminal.console import console
        from onnx_gapmil.show.terminal.inspection_note import inspection_note

        console().print(inspection_note(found))
        if class_token is not None and found.heads and all(head.class_token is None for head in found.heads):
            say(f"note: {CHANGES_NOTHING}.")
    return 0 if found.heads or found.rewritten else 3
