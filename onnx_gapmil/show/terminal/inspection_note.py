"""The doctor's note of ``inspect``, for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import count
from onnx_gapmil.rewriting.repooled.weights import fitted_weights
from onnx_gapmil.show.terminal.pool_weights import pool_weights_lines
from onnx_gapmil.show.terminal.said import VERDICTS, said_shape, short
from onnx_gapmil.show.terminal.sizes import size_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.verdict import LiftStep, Refusal
    from onnx_gapmil.rewriting.inspection import Inspection
    from onnx_gapmil.rewriting.repooled.record import RepooledHead
    from onnx_gapmil.rewriting.stated import StatedNote

#: Names of classes that an inspection lists.
_NAMES_SHOWN = 8


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
        parts.append(Text(visible(_repooled_text(pooled)), style="bold"))
        lines = [line for pool in fitted_weights(pooled) for line in pool_weights_lines(pool)]
        parts += [*(Padding(Text(line), (0, 0, 0, 2)) for line in lines), Text()]
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
            table.add_row(label, f"{name}  {said_shape(shape)}  {dtype}")
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
    color, _ = VERDICTS[head.verdict]
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
            short(grid.source),
            f"(N, {grid.channels}, {', '.join(map(str, size))})",
            detail,
        )
    for step in head.chain:
        table.add_row(f"↓ {step.op}", short(step.node or step.output), _batch_shape(step), _step_text(step))
    tail = " → ".join(head.logits.tail)
    table.add_row(
        "logits", short(head.logits.tensor), f"(N, {head.classes})", f"then {tail}" if tail else "the output itself"
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
            "nearest", f"{nearest.op} {short(nearest.node)} {said_shape(('N', *nearest.before[1:]))}: {nearest.role}"
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
        table.add_row(pool.op, short(pool.node), said_shape(("N", *pool.before[1:])), pool.role)
    if len(others) > 12:
        table.add_row("…", f"{len(others) - 12} more", "", "see --json")
    return Group(title, Padding(table, (0, 0, 0, 2)))


def _verdict_line(found: Inspection) -> Text:
    if found.verdict is None:
        return Text.assemble(
            ("Verdict: refused. ", "bold red"),
            "No prediction grid exists for this model; a map drawn anyway would be made up.",
        )
    color, meaning = VERDICTS[found.verdict]
    if found.verdict == "exact" and all(head.position_dependent for head in found.heads):
        meaning = (
            "the head is affine, with weights of its own for each position: a cell's value is its share of the image's "
            "logit, and not what the head would say of that cell alone"
        )
    return Text.assemble((f"Verdict: {found.verdict}. ", f"bold {color}"), meaning[0].upper() + meaning[1:] + ".")


def _batch_shape(step: LiftStep) -> str:
    return said_shape(("N", *step.shape[1:])) if len(step.shape) > 1 else said_shape(step.shape)


def _bytes(size: int) -> str:
    """A file's size for people."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
