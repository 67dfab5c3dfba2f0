"""Text for a terminal: the doctor's note of ``inspect``, and the reports of ``rewrite`` and ``verify``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import count, percent
from onnx_gapmil.show.terminal.console import console as console  # what notes are printed on
from onnx_gapmil.show.terminal.left_behind import left_behind_note
from onnx_gapmil.show.terminal.pool_weights import pool_weights_lines
from onnx_gapmil.show.terminal.sizes import size_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.verdict import LiftStep, Refusal
    from onnx_gapmil.rewriting.inspection import Inspection
    from onnx_gapmil.rewriting.proof.checks import Check, Figure
    from onnx_gapmil.rewriting.proof.report import ProofReport
    from onnx_gapmil.rewriting.record import HeadRecord
    from onnx_gapmil.rewriting.repooled.record import RepooledHead
    from onnx_gapmil.rewriting.result import Rewrite
    from onnx_gapmil.rewriting.stated import StatedNote

#: Longest name of a node in a table; exporters write names of hundreds of letters. JSON has them whole.
_NAME_WIDTH = 34

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
#: Names of classes that an inspection lists.
_NAMES_SHOWN = 8
_VERDICTS = {
    "exact": ("green", "the head is affine, so a cell's value is the head's own answer to that cell"),
    "conditional": (
        "yellow",
        "exact for each image (mean over cells = logits), but a cell's value also depends on the pooled features",
    ),
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


def inspection_note(found: Inspection) -> RenderableType:
    """The note on one model."""
    parts: list[RenderableType] = [_facts(found), Text()]
    if found.rewritten:
        parts += [
            Text(
                "It is a rewritten model already: its new outputs are "
                + ", ".join(name for head in found.rewritten for name in head.new_outputs)
                + ".",
                style="bold",
            ),
            Text(),
        ]
    for pooled in found.repooled:
        parts += [Text(visible(_repooled_text(pooled)), style="bold"), Text()]
    for head in found.heads:
        parts += [_head_table(head), Text()]
    for output, refusal in found.refusals.items():
        parts += [refusal_note(output, refusal, found), Text()]
    others = [pool for pool in found.pools if not pool.is_head]
    if others or found.local_pools:
        parts += [_other_pools(found), Text()]
    parts.append(_verdict_line(found))
    return Group(*parts)


def _repooled_text(pooled: RepooledHead) -> str:
    """That the model answers by another pool than its head's, which is what is lifted."""
    outputs = ", ".join(map(repr, pooled.outputs))
    return (
        f"It is repooled: {outputs} answers by '{pooled.aggregator.key}' of the cells. What follows is the vendor's "
        "head, whose logits are their mean."
    )


def _facts(found: Inspection) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("model", Text(visible(found.model), style="bold"))
    opsets = ", ".join(f"{domain} {version}" for domain, version in found.opsets.items())
    table.add_row("written by", f"{found.exporter}; IR {found.ir_version}; {opsets}")
    functions = (
        f", {count(found.functions, 'local function')}{' (inlined to see the head)' if found.inlined else ''}"
        if found.functions
        else ""
    )
    table.add_row(
        "size",
        f"{_bytes(found.size)}, {count(found.parameters, 'parameter')}, {count(found.nodes, 'node')}{functions}",
    )
    for label, values in (("input", found.inputs), ("output", found.outputs)):
        for name, shape, dtype in values:
            table.add_row(label, f"{name}  {_shape(shape)}  {dtype}")
    for place, line in enumerate(size_lines(found.sized, [head.places for head in found.heads])):
        table.add_row("used at" if not place else "", line)
    table.add_row("sha-256", found.sha256)
    _add_stated(table, found.stated)
    return table


def _add_stated(table: Table, stated: StatedNote) -> None:
    """How photos are prepared, what names the classes, and the metadata that nothing here reads."""
    used = stated.preprocess
    table.add_row("preprocessing", used.preprocess.describe() if used is not None else visible(stated.problem))
    if used is not None:
        table.add_row("", visible(used.source))
    for output, names in stated.names.items():
        where = f"{output}: " if len(stated.names) > 1 else ""
        shown = ""
        if names.names is not None:
            more = f", and {len(names.names) - _NAMES_SHOWN:,} more" if len(names.names) > _NAMES_SHOWN else ""
            shown = f" {', '.join(names.names[:_NAMES_SHOWN])}{more}."
        table.add_row("classes", visible(f"{where}{names.source}{shown}"))
    if stated.unknown_keys:
        table.add_row("metadata", visible(f"not read here: {', '.join(map(repr, stated.unknown_keys))}"))


def _head_table(head: LiftedHead) -> RenderableType:
    color, _ = _VERDICTS[head.verdict]
    title = Text.assemble(
        ("Head of ", "bold"),
        (visible(", ".join(f"'{name}'" for name in head.outputs)), "bold"),
        ": ",
        (head.verdict, f"bold {color}"),
        _qualities(head),
    )
    table = Table.grid(padding=(0, 2))
    for style in ("bold", "dim", "", "cyan"):
        table.add_column(style=style, overflow="fold")
    for grid in head.features:
        size = grid.shape
        note = f"; {grid.note}" if grid.note else ""
        detail = f"the feature grid, kept as {grid.layout}{note}"
        table.add_row(
            f"{'×'.join(map(str, size))} {'cell' if math.prod(size) == 1 else 'cells'}",
            _short(grid.source),
            f"(N, {grid.channels}, {', '.join(map(str, size))})",
            detail,
        )
    for step in head.chain:
        table.add_row(f"↓ {step.op}", _short(step.node or step.output), _batch_shape(step), _step_text(step))
    tail = " → ".join(head.logits.tail)
    table.add_row(
        "logits", _short(head.logits.tensor), f"(N, {head.classes})", f"then {tail}" if tail else "the output itself"
    )
    below = [_places_text(head), *(line for pool in head.pool_weights for line in pool_weights_lines(pool))]
    return Group(title, Padding(table, (0, 0, 0, 2)), *(Padding(Text(line), (0, 0, 0, 2)) for line in below))


def _places_text(head: LiftedHead) -> str:
    """Where the cells look, as traced."""
    places = head.places
    if not places.known:
        return visible(f"places: not known: {places.reason}")
    units = {"frames": "frame", "depth": "voxel"}
    parts = [
        f"{name} from {line.first:.4g} in steps of {line.step:.4g} {units.get(name, 'pixel')}{'s' * (line.step != 1)}"
        for name, line in places.lines.items()
    ]
    return visible(f"places: {', '.join(parts)} of '{places.input}', as traced; rewrite proves them")


def _qualities(head: LiftedHead) -> str:
    """What else is to be known of a head beside its verdict."""
    words = []
    if head.quantized:
        bound = head.rounding_bound
        words.append("up to rounding" + (f", which moves a logit by at most {bound:.2g}" if bound is not None else ""))
    if head.features_of:
        words.append(f"features of {', '.join(map(repr, head.features_of))}, no classes")
    elif head.classes == 1:
        words.append("one logit: two classes")
    elif head.logits.activation == "sigmoid":
        words.append("sigmoids: several labels at once")
    if head.position_dependent:
        words.append("position-dependent (each cell has weights of its own)")
    if head.class_token is not None:
        words.append(f"class token ({head.class_token})")
    return "".join(f"; {word}" for word in words)


def _step_text(step: LiftStep) -> Text:
    return Text(visible(step.detail), style="yellow" if step.conditional else "cyan")


def refusal_note(output: str, refusal: Refusal, found: Inspection) -> RenderableType:
    """Why one output has no grid, how far the walk came, and what can be done."""
    title = Text.assemble(
        ("Head of ", "bold"), (visible(f"'{output}'"), "bold"), ": ", ("refused", "bold red"), f" ({refusal.code})"
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("found", refusal.message)
    if refusal.walked:
        table.add_row("walked", Text(visible(" ← ".join(["logits", *refusal.walked]))))
    nearest = found.nearest_pool
    if nearest is not None:
        table.add_row(
            "nearest", f"{nearest.op} {_short(nearest.node)} {_shape(('N', *nearest.before[1:]))}: {nearest.role}"
        )
    elif not found.pools:
        table.add_row("nearest", "no operator of the graph pools a whole map")
    table.add_row("advice", refusal.advice)
    return Group(title, Padding(table, (0, 0, 0, 2)))


def _other_pools(found: Inspection) -> RenderableType:
    others = [pool for pool in found.pools if not pool.is_head]
    wide = count(len(others), "other pool")
    title = Text(f"{wide} over a whole map, {found.local_pools:,} with a smaller window", style="bold")
    table = Table.grid(padding=(0, 2))
    for style in ("", "dim", "", ""):
        table.add_column(style=style, overflow="fold")
    for pool in others[:12]:
        table.add_row(pool.op, _short(pool.node), _shape(("N", *pool.before[1:])), pool.role)
    if len(others) > 12:
        table.add_row("…", f"{len(others) - 12} more", "", "see --json")
    return Group(title, Padding(table, (0, 0, 0, 2)))


def _verdict_line(found: Inspection) -> Text:
    if found.verdict is None:
        return Text.assemble(
            ("Verdict: refused. ", "bold red"),
            "No prediction grid exists for this model; a map drawn anyway would be made up.",
        )
    color, meaning = _VERDICTS[found.verdict]
    if found.verdict == "exact" and all(head.position_dependent for head in found.heads):
        meaning = (
            "the head is affine, with weights of its own for each position: a cell's value is its share of the image's "
            "logit, and not what the head would say of that cell alone"
        )
    return Text.assemble((f"Verdict: {found.verdict}. ", f"bold {color}"), meaning[0].upper() + meaning[1:] + ".")


def rewrite_note(result: Rewrite) -> RenderableType:
    """What ``rewrite`` did and measured."""
    if result.unchanged:
        names = ", ".join(name for head in result.heads for name in head.new_outputs)
        return Text(f"{visible(result.source.name)} is a rewritten model already ({visible(names)}); nothing was done.")
    lines: list[RenderableType] = []
    for head in result.heads:
        color, _ = _VERDICTS[head.verdict]
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
        shape = _shape(tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims))
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


def _shape(shape: tuple[int | str, ...]) -> str:
    return "(" + ", ".join(str(dim) for dim in shape) + ")"


def _batch_shape(step: LiftStep) -> str:
    return _shape(("N", *step.shape[1:])) if len(step.shape) > 1 else _shape(step.shape)


def _short(name: str) -> str:
    """A long name with its middle left out."""
    name = visible(name)
    if len(name) <= _NAME_WIDTH:
        return name
    half = (_NAME_WIDTH - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _bytes(size: int) -> str:
    """A file's size for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
