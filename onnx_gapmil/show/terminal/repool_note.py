"""The report of ``repool``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.rewriting.repool_result import said_logits
from onnx_gapmil.rewriting.sizing.record import said_size
from onnx_gapmil.show.terminal.left_behind import left_behind_note
from onnx_gapmil.show.terminal.rewrite_note import proof_note

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.rewriting.repool_result import Repool


def repool_note(result: Repool) -> RenderableType:
    """What ``repool`` did and measured."""
    name = visible(result.source.name)
    lines: list[RenderableType] = []
    if result.unchanged:
        lines.append(Text(f"{name} answers by '{result.aggregator.key}' already; nothing was done."))
    elif result.is_vendors:
        opened = "" if result.size is None else f", opened for {said_size(result.size.size)} pixels,"
        lines.append(
            Text(f"It is the vendor's graph{opened} again, node by node, and answers as that does, bit for bit.")
        )
    for head in result.heads:
        line = f"output {', '.join(map(repr, head.outputs))}: {said_logits(head)} by '{head.aggregator.key}'"
        figure = result.figure(head.output)
        if figure is not None and figure.measure is not None:
            line += f", equal to NumPy's to {figure.measure:.1e} (allowed {figure.allowed:.0e}; {figure.detail})"
            optimized = figure.facts.get("optimized")
            if optimized is not None:
                line += f"; under ONNX Runtime's optimization to {optimized:.1e}"
        lines.append(Text(visible(line)))
    for output, refusal in result.refusals.items():
        lines.append(
            Text.assemble(("refused", "bold red"), visible(f"  output '{output}' ({refusal.code}): {refusal.message}"))
        )
    if result.proof is not None:
        lines.append(Text("The grid that is pooled:"))
        lines.append(Padding(proof_note(result.proof), (0, 0, 0, 2)))
    if result.inlined and not result.unchanged:
        lines.append(Text("Local functions were inlined, because they hid the head."))
    if result.output_path is not None:
        lines.append(Text.assemble("Written: ", (visible(str(result.output_path)), "bold")))
        if result.source.path is not None and (note := left_behind_note(result.source.path, result.output_path)):
            lines.append(Text(note))
    return Group(*lines)
