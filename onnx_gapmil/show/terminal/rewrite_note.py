"""What ``rewrite`` and ``verify`` did and proved, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import count, percent
from onnx_gapmil.show.terminal.left_behind import left_behind_note
from onnx_gapmil.show.terminal.said import VERDICTS, said_shape
from onnx_gapmil.show.terminal.sizes import size_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.rewriting.proof.checks import Check, Figure
    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.rewriting.result import Rewrite

#: What each new output is.
_MEANINGS = {
    "grid": "prediction grid",
    "features": "feature grid",
    "argmax": "best class of each cell",
    "peaks": "best cell of each class",
    "topk_classes": "the image's best classes",
    "topk_grid": "their prediction grid",
    "classes_grid": "prediction grid of the chosen classes",
    "placeless": "the part of the logits that no place brings, alike in every cell",
}

#: What each proof says, by its name.
_CLAIMS = {
    "sum": "each class's logit is its cells' mean to {figure}",
    "cell": "{detail} are the head's own answers to them, to {figure}",
    "place": "stripes of the image move the cells that look there: {detail}",
    "pool": "the logits are NumPy's of the cells to {figure}, by {detail}",
    "as_deployed": "the vendor's outputs are equal bit for bit under {detail}",
}
#: What a proof says whose failure stops nothing.
_UNHELD = {"as_deployed": "not equal: {failures}; {detail}"}


def rewrite_note(result: Rewrite) -> RenderableType:
    """What ``rewrite`` did and measured."""
    if result.unchanged:
        names = ", ".join(name for head in result.heads for name in head.new_outputs)
        return Text(f"{visible(result.source.name)} is a rewritten model already ({visible(names)}); nothing was done.")
    lines: list[RenderableType] = []
    for head in result.heads:
        color, _ = VERDICTS[head.verdict]
        lines.append(
            Text.assemble(
                (head.said_verdict, f"bold {color}"),
                visible(f"  output '{head.output}': "),
                " → ".join(step.op for step in head.chain),
            )
        )
        lines.append(Padding(_new_outputs(result, head), (0, 0, 0, 2)))
        if head.placeless_share is not None:
            lines.append(
                Text(
                    f"  class token: {percent(head.placeless_share, 0)} of the answers to noise have no place and are "
                    "spread evenly; predict and audit say it of photos"
                )
            )
        elif head.class_token is not None:
            lines.append(Text("  class token: how much of an answer has no place, and is spread evenly, is not known"))
    for output, refusal in result.refusals.items():
        lines.append(
            Text.assemble(("refused", "bold red"), visible(f"  output '{output}' ({refusal.code}): {refusal.message}"))
        )
    sized = size_lines(result.size, [head.places for head in result.heads])
    lines += [Text(f"{'Size: ' if not place else '  '}{line}") for place, line in enumerate(sized)]
    if result.proof is not None:
        lines.append(proof_note(result.proof))
    if result.inlined:
        lines.append(Text("Local functions were inlined, because they hid the head."))
    if result.output_path is not None:
        growth = result.output_path.stat().st_size - (result.source.path.stat().st_size if result.source.path else 0)
        lines.append(
            Text.assemble(
                "Written: ",
                (visible(str(result.output_path)), "bold"),
                f"  (+{growth:,} bytes, {percent(growth / result.source.size, 2)})",
            )
        )
        if result.source.path is not None and (note := left_behind_note(result.source.path, result.output_path)):
            lines.append(Text(note))
    return Group(*lines)


def _new_outputs(result: Rewrite, head: HeadRecord) -> Table:
    """Every new output of one head with its shape, and what it is."""
    declared = {value.name: value for value in result.model.graph.output}
    table = Table.grid(padding=(0, 2))
    for style in ("bold", "", "dim"):
        table.add_column(style=style, overflow="fold")
    for key, name in head.by_name().items():
        dims = declared[name].type.tensor_type.shape.dim
        shape = said_shape(tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims))
        table.add_row(name, shape, _meaning(key, head))
    return table


def _meaning(key: str, head: HeadRecord) -> str:
    """What a new output is, in a few words."""
    if key == "logits":
        return "one score for each class" if head.activation == "none" else f"scores before the {head.activation}"
    if key == "pooled":
        return f"what the model answers by: '{head.pool}' of the cells, and not their mean"
    if key == "certainty":
        return f"{'sigmoid' if head.activation == 'sigmoid' else 'softmax share'} of the best class"
    return _MEANINGS.get(key) or f"scores of each class by {key.removeprefix('scores.')}"


def proof_note(report: ProofReport) -> Text:
    """The result of a proof: what was run, and a line for each thing that was proved."""
    residuals = ", ".join(
        f"{report.residual(output):.1e} (allowed {limit:.0e})"
        for output, limit in report.tolerance.items()
        if report.residual(output) is not None
    )
    exact = all(trial.outputs_equal for trial in report.trials)
    worst = max((trial.outputs_difference for trial in report.trials), default=0.0)
    outputs = "original outputs equal bit for bit" if exact else f"original outputs equal to {worst:.1e}"
    if report.kind == "head":
        outputs = "the model is too large to run, so its head ran alone; " + (
            "the vendor's part of the graph is unchanged" if exact else "the vendor's part of the graph is changed"
        )
    word, color = ("Proved", "green") if report.passed else ("Not proved", "red")
    if report.emitted:
        worst = max((report.emission(name) or 0.0 for name in report.emitted), default=0.0)
        equal = count(len(report.emitted), "reduction equals", "reductions equal")
        outputs += f"; {equal} NumPy's of the whole grid to {worst:.1e}"
    inputs = f"{count(len(report.trials), 'input')} on {report.provider}{_shared_nodes(report)}"
    text = Text.assemble(
        (word, f"bold {color}"),
        f" on {inputs}: {outputs}; |mean over cells - logits| / max|logit| = {residuals}",
    )
    for check in report.checks:
        text.append(f"\n  {check.name.replace('_', ' ')}: {visible(_proof_line(check))}")
    for reason in report.reasons():
        text.append(f"\n  {visible(reason)}", style="red")
    return text


def _proof_line(check: Check) -> str:
    """What one proof claims, and how nearly it holds; or why it was not run."""
    found = check.joint
    parts = []
    if found.measure is not None and found.allowed is not None:
        claim = _CLAIMS.get(check.name, "{detail} to {figure}")
        parts.append(claim.format(detail=found.detail, figure=_figure(found)))
    for name, part in check.parts.items():
        inner = part.joint
        parts.append(f"in {name} to {_figure(inner)}" if inner.measure is not None else f"in {name} {_not_run(inner)}")
    if found.skipped:
        parts.append(_not_run(found))
    if found.failures and not check.binding:
        said = " ".join(found.failures).rstrip(".")
        return _UNHELD.get(check.name, "not known: {failures}").format(failures=said, detail=found.detail)
    return "; ".join(parts)


def _figure(found: Figure) -> str:
    return f"{found.measure:.1e} (allowed {found.allowed:.0e})"


def _not_run(found: Figure) -> str:
    return f"not run{' for all heads' if found.measure is not None else ''}: {found.skipped}"


def _shared_nodes(report: ProofReport) -> str:
    """Which providers share the rewritten graph, where one does not run all of it."""
    nodes = report.nodes.get("rewritten", {})
    if len(nodes) < 2:
        return ""
    return f" (nodes: {', '.join(f'{number} {name}' for name, number in nodes.items())})"
