"""Text for a terminal: what auxiliary classifiers know, and where their grid sees things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnx_gapmil.files.printable import visible
from onnx_gapmil.files.wording import column_percent, count, percent, points, points_range
from onnx_gapmil.show.terminal.left_behind import left_behind_note
from onnx_gapmil.validation.refitting.text import SAID, SHOWN, judged_lines, line_of, said_without_images

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.validation.refitting.auxiliary_result import AuxiliaryFit, AuxiliaryHead, Localized, Placed
    from onnx_gapmil.validation.refitting.weighing import Weight


def auxiliary_note(found: AuxiliaryFit) -> RenderableType:
    """What was fitted, what it is worth, and what became of it."""
    data = found.data
    lines: list[RenderableType] = [
        line_of(f"Fitted {count(len(found.heads), 'auxiliary classifier')} to {count(data.fitted, 'image')}.")
    ]
    lines += [line_of(_said(found, head)) for head in found.heads]
    if found.weight is not None:
        lines.append(line_of(_weight(found.weight)))
    if data.without_images:
        lines.append(line_of(f"{said_without_images(data)}; the classifiers know nothing of them."))
    lines += [line_of(f"Kept out: {text}") for text in data.unreadable[:SHOWN]]
    what = "the other half, which neither fit nor tuning saw"
    counted = "with the classifiers in the scores" + ("" if found.scores else " (which --scores asks for)")
    lines += judged_lines(data, found.held_out, what, {"calibrated": "calibrated only (mean)", "fitted": counted})
    if found.localized is not None:
        lines += _where(found, found.localized)
    elif found.output:
        lines.append(
            line_of("No held-out image has a box, so that nothing is known of where the finer grid sees things.")
        )
    if found.reason:
        lines.append(Text.assemble(("Not written", "bold red"), visible(f": {found.reason}.")))
    if found.proof is not None:
        lines += _proved(found)
    if found.output_path is not None:
        lines.append(Text.assemble("Written: ", (visible(str(found.output_path)), "bold")))
        if found.source is not None and (note := left_behind_note(found.source, found.output_path)):
            lines.append(Text(note))
    return Group(*lines)


def _said(found: AuxiliaryFit, head: AuxiliaryHead) -> str:
    text = f"  '{head.tensor}', {head.size[0]} x {head.size[1]} cells of {head.channels} channels: "
    if head.ridge == float("inf"):
        return text + "its mean tells nothing of the classes, and it is left out."
    text += f"ridge {head.ridge:g}, by itself {SAID[found.held_out.main]} {percent(head.alone)}"
    return text + ("." if head.converged else "; L-BFGS stopped before there was nothing to gain.")


def _weight(weight: Weight) -> str:
    if not weight.boxes:
        return (
            f"Their weight is the usual {weight.value:g}: too few images of that half have boxes that could choose it."
        )
    none, best = (percent(weight.boxes[f"{value:g}"]) for value in (0.0, weight.value))
    said = f"Their weight by the boxes of {count(weight.objects, 'object')} in that half: {weight.value:g}"
    return (
        f"{said} (MaxBoxAccV2 {best}, the vendor's own grid {none})."
        if weight.value
        else f"{said} (MaxBoxAccV2 {none})."
    )


def _where(found: AuxiliaryFit, placed: Localized) -> list[RenderableType]:
    vendor, finer = (f"{rows} x {columns} cells" for rows, columns in found.cells)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(f"{count(placed.objects, 'object')} in {count(placed.images, 'held-out image')}", overflow="fold")
    for title in (f"vendor, {vendor}", f"finer, {finer}", "difference", "95 % interval"):
        table.add_column(title, justify="right")
    rows = {"MaxBoxAccV2": placed.boxes, "boxes at IoU 0.5": placed.half, "pointing game": placed.pointing}
    for name, row in rows.items():
        table.add_row(name, *_cells(row))
    return [Text(), table]


def _cells(row: Placed) -> list[str]:
    shares = [column_percent(row.vendor), column_percent(row.finer)]
    return [*shares, f"{points(row.difference)} points", points_range(row.interval)]


def _proved(found: AuxiliaryFit) -> list[RenderableType]:
    proof = found.proof
    if proof is None:
        return []
    scores = (
        "the vendor's scores with those of the classifiers" if found.scores else "the vendor's scores, by a finer grid"
    )
    return [
        line_of(
            f"output '{found.output}': {scores}, equal to NumPy's to {proof.residual:.1e} (allowed "
            f"{proof.allowed:.0e}); its grid is {proof.head.said_verdict}, its sum and places proved. The vendor's "
            f"outputs are equal bit for bit; under ONNX Runtime's optimization to {proof.optimized:.1e}."
        )
    ]
