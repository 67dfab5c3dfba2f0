"""One head of a model that has several, by the name of an output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.lift.verdict import UnsupportedHeadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onnx_gapmil.lift.verdict import Refusal
    from onnx_gapmil.rewriting.result import Rewrite


def chosen_place(
    output: str, heads: Sequence[tuple[str, Iterable[str]]], refusals: Mapping[str, Refusal], what: str
) -> int:
    """Which of the heads an output is of.

    Args:
        output: that was asked for; a head has the name of its first output, and those of the others that it makes.
        heads: of each, its name and its outputs.
        refusals: by output, why others have none.
        what: the model's name, for messages.

    Raises:
        UnsupportedHeadError: the output's head is refused.
        InputError: there is no such output.
    """
    names = [name for name, _ in heads]
    if output in names:
        return names.index(output)
    for place, (_, outputs) in enumerate(heads):
        if output in outputs:
            return place
    if output in refusals:
        raise UnsupportedHeadError(refusals[output], {output: refusals[output]})
    lifted = f"its heads are {', '.join(map(repr, names))}" if names else "none of its outputs has a head"
    refused = f"; refused are {', '.join(map(repr, refusals))}" if refusals else ""
    raise InputError(f"{what} has no head {output!r}; {lifted}{refused}.")


def place_of_head(rewrite: Rewrite, output: str) -> int:
    """Which of a rewritten model's heads an output is of; see `chosen_place`."""
    heads = [(head.output, head.outputs) for head in rewrite.heads]
    return chosen_place(output, heads, rewrite.refusals, rewrite.source.name)
