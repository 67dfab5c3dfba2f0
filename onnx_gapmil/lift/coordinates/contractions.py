"""Operators that sum over an axis: matrix products, reductions, attention."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.fields import (
    MIXED,
    NONE,
    POOLED,
    UNKNOWN,
    Field,
    compact,
    constant_field,
    contract,
    is_number,
)
from onnx_gapmil.lift.coordinates.looks import (
    Key,
    Looks,
    View,
    conflicts,
    join_views,
    joined,
    seen_nowhere,
    stated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.coordinates.scene import Rule, Scene

#: Inputs of the quantized and fused products that hold the two factors; the others are scales, zero points and biases.
_FACTORS = {"QLinearMatMul": (0, 3), "QGemm": (0, 3), "MatMulIntegerToFloat": (0, 1)}


#: How far the energy of weights may be spread, in steps, for their sum to look at one place: by half where a matrix
#: interpolates.
_ONE_PLACE = 0.55


@dataclass(frozen=True)
class _Summed:
    """One way to see a factor of a product, after the sum.

    Attributes:
        view: coordinates, with the axes of the result.
        whole: the coordinates that have places, which are the same for all elements that were summed.
        reach: from where to where the summed elements look in each of the other coordinates, with the result's axes,
            and a step more on both sides.
    """

    view: View
    whole: frozenset[Key]
    reach: Mapping[Key, tuple[np.ndarray, np.ndarray]]


def _summed(part: Looks, labels: str, output: str, lost: float) -> list[_Summed]:
    """Sum a factor over the axes whose letters the result has not, and bring the others into the result's order."""
    gone = tuple(axis for axis, label in enumerate(labels) if label not in output)
    kept = [labels.index(label) for label in output if label in labels]
    target = [labels.index(label) if label in labels else None for label in output]
    found = []
    for view in part.views:
        whole = frozenset(
            (name, of)
            for (name, of), field in view.items()
            if of > 0 and field.has_numbers and _is_one_place(field, gone)
        )

        def placed(values: np.ndarray) -> np.ndarray:
            values = values.squeeze(gone) if gone else values
            values = values.transpose([sorted(kept).index(axis) for axis in kept])
            shape = iter(values.shape)
            return values.reshape([1 if axis is None else next(shape) for axis in target])

        moved, reach = {}, {}
        for key, field in view.items():
            mean = contract(field, gone, lost)
            moved[key] = Field(placed(mean.values), mean.step)
            if key not in whole and field.has_numbers and is_number(field.values).all():
                low, high = (bound(field.values, axis=gone, keepdims=True) for bound in (np.min, np.max))
                reach[key] = placed(low - field.step), placed(high + field.step)
        found.append(_Summed(moved, whole, reach))
    return found


def _is_one_place(field: Field, axes: tuple[int, ...]) -> bool:
    """Whether all that is summed looks at one place, give or take what channels of one cell differ by."""
    axes = tuple(axis for axis in axes if field.varies(axis))
    return not axes or bool((np.ptp(field.values, axis=axes) < _ONE_PLACE * field.step).all())


def _weighed(part: Looks, labels: str, weights: np.ndarray, of: str, output: str) -> View:
    """Where the sums by constant weights look whose energy lies at one place: permutations, interpolations.

    A permutation matrix is a mover like any other. Coordinates of which that is not so are left out.
    """
    gone = [axis for axis, label in enumerate(labels) if label not in output]
    view = part.views[0]
    if len(part.views) > 1 or len(gone) != 1 or not set(of) <= {labels[gone[0]], *output}:
        return {}
    energy = np.square(weights.astype(np.float64))
    if not np.isfinite(energy).all():
        return {}
    found: View = {}
    for key, field in view.items():
        if not field.varies(gone[0]) or not is_number(field.values).all():
            continue
        full = np.broadcast_to(
            field.values, [part.shape[axis] if axis == gone[0] else dim for axis, dim in enumerate(field.values.shape)]
        )
        total = np.einsum(f"{labels},{of}->{output}", np.ones_like(full), energy)
        mean = np.einsum(f"{labels},{of}->{output}", full, energy) / np.where(total > 0, total, 1)
        square = np.einsum(f"{labels},{of}->{output}", np.square(full), energy) / np.where(total > 0, total, 1)
        if (total > 0).all() and (square - np.square(mean) <= np.square(_ONE_PLACE * field.step)).all():
            found[key] = Field(compact(mean), field.step)
    return found


def product(
    parts: list[Looks],
    labels: list[str],
    output: str,
    after: tuple[int, ...],
    weights: Callable[[int], np.ndarray | None] = lambda _: None,
) -> Looks:
    """What a product of tensors sees, spelled as an Einsum without ellipsis.

    A factor whose places are the same for everything that is summed owns the result: the queries of an attention own
    its output, though the sum over the keys of a small window may look like one place, too.
    """
    moving = [(part, own) for part, own in zip(parts, labels, strict=True) if any(part.views)]
    if not moving:
        return seen_nowhere(after)
    why = next((part.why for part, _ in moving if part.why), "")
    lost = MIXED if len(moving) == 1 else POOLED
    factors = [_summed(part, own, output, lost) for part, own in moving]
    if len(factors) == 1:
        seen = tuple(entry.view for entry in factors[0])
        place = next(number for number, part in enumerate(parts) if any(part.views))
        gathers = len(seen) == 1 and len(parts) == 2 and _gathers(parts[place], labels[place], output)
        matrix = weights(1 - place) if gathers else None
        if matrix is not None:
            moved = _weighed(parts[place], labels[place], matrix, labels[1 - place], output)
            # The channels of a patch keep the one place that the plain mean gives them.
            seen = ({**seen[0], **{key: field for key, field in moved.items() if not seen[0][key].has_numbers}},)
        return Looks(after, seen, why)
    entries = [entry for found in factors for entry in found]
    weighed = _are_weighed(factors)
    owned = {key for entry in entries for key in entry.whole}
    if not owned:
        view = entries[0].view
        for entry in entries[1:]:
            view = join_views(view, entry.view)
        return Looks(after, (view,), why, weighed=weighed)
    views: list[View] = []
    for entry in entries:
        if not entry.whole:
            continue
        own = {key: field for key, field in entry.view.items() if key in entry.whole or key not in owned}
        own = {key: _gathered(key, field, entries) for key, field in own.items()}
        same = next((place for place, view in enumerate(views) if not conflicts(join_views(view, own))), None)
        if same is None:
            views.append(own)
        else:
            views[same] = join_views(views[same], own)
    # What is summed lies elsewhere along an axis of which the queries own the place.
    attended = any(key in owned for entry in entries for key in entry.reach)
    return Looks(after, tuple(views[:2]), why, attended, weighed)


def _are_weighed(factors: Sequence[Sequence[_Summed]]) -> bool:
    """Whether one factor's places are added up by another that looks at none along the same axis of an input.

    Keys and values of an attention, or of a linear one, both look at the places that are added up.
    """
    summed = [{key for entry in found for key in entry.reach} for found in factors]
    return any(sum(key in own for own in summed) == 1 for key in set().union(*summed))


def _gathered(key: Key, own: Field, entries: Sequence[_Summed]) -> Field:
    """Where the queries of an attention look, after they gathered from the elements that were summed.

    A token without a place of its own, such as a class token, has gathered from all others. Queries that look beyond
    all that they gather from, as the global ones of GCViT do, which are the same for every window, weigh it and bring
    no place with them.
    """
    values = np.where(own.values == NONE, POOLED, own.values)
    for low, high in (entry.reach[key] for entry in entries if key in entry.reach):
        if (is_number(values) & ((values < low) | (values > high))).any():
            return constant_field(MIXED, values.ndim)
    return Field(values, own.step)


def _matmul(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    one, two = (parts[place] for place in _FACTORS.get(node.op, (0, 1)))
    swaps = [bool(node.attrs.get(name, 0)) for name in ("transA", "transB")]
    places = _FACTORS.get(node.op, (0, 1))
    return [matmul(one, two, scene.out_shape(node), swaps, lambda factor: _matrix(scene, node, places[factor]))]


def _matrix(scene: Scene, node: gs.Node, place: int) -> np.ndarray | None:
    """A constant factor of a product, of floats."""
    value = scene.weights(node.inputs[place].name)
    return value if value is not None and value.dtype.kind == "f" else None


def _gathers(part: Looks, labels: str, output: str) -> bool:
    """Whether a sum is over elements with different places, so that its weights tell which of them count."""
    gone = [axis for axis, label in enumerate(labels) if label not in output]
    return any(
        found.varies(axis) and found.has_numbers for axis in gone for view in part.views for found in view.values()
    )


def matmul(
    one: Looks, two: Looks, after: tuple[int, ...], swaps: list[bool], weights: Callable[[int], np.ndarray | None]
) -> Looks:
    """A matrix product as NumPy has it, of tensors whose last two axes may be swapped."""
    letters = "abcdefghij"
    lead = letters[: max(one.rank - 2, two.rank - 2, 0)]
    left_labels = "k" if one.rank == 1 else lead[len(lead) - one.rank + 2 :] + ("km" if swaps[0] else "mk")
    right_labels = "k" if two.rank == 1 else lead[len(lead) - two.rank + 2 :] + ("nk" if swaps[1] else "kn")
    output = lead + ("m" if one.rank > 1 else "") + ("n" if two.rank > 1 else "")
    return product([one, two], [left_labels, right_labels], output, after, weights)


def _gemm(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    after = scene.out_shape(node)
    result = _matmul(node, parts, scene)[0]
    bias = parts[2:3] if node.op in ("Gemm", "FusedGemm") else []
    return [joined([result, *bias], after)]


def _einsum(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    after = scene.out_shape(node)
    spelled = letters(str(node.attrs["equation"]), [part.rank for part in parts])
    if spelled is None:
        return [stated(parts, after, UNKNOWN, f"Einsum '{node.name}' takes a diagonal")]
    labels, output = spelled
    return [product(parts, labels, output, after, lambda factor: _matrix(scene, node, factor))]


def letters(equation: str, ranks: list[int]) -> tuple[list[str], str] | None:
    """The letters of each operand and of the result, an ellipsis spelled out; None if one has a letter twice."""
    terms, arrow, output = equation.replace(" ", "").partition("->")
    labels = terms.split(",")
    widest = max(
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(labels, ranks, strict=True)
    )
    spare = [letter for letter in string.ascii_letters if letter not in equation][:widest]
    full = []
    for term, rank in zip(labels, ranks, strict=True):
        own = rank - len(term.replace("...", ""))
        full.append(term.replace("...", "".join(spare[widest - own :] if own else "")))
    if not arrow:
        joined_terms = "".join(full)
        output = "..." + "".join(sorted(letter for letter in set(joined_terms) if joined_terms.count(letter) == 1))
        output = "..." + "".join(letter for letter in output[3:] if letter not in spare)
    output = output.replace("...", "".join(spare))
    if any(len(set(term)) != len(term) for term in full):
        return None
    return full, output


def _reduced(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    after, rank = scene.out_shape(node), parts[0].rank
    axes = scene.numbers(node, "axes", 1) if not node.op.startswith("Arg") else [int(node.attrs.get("axis", 0))]
    if axes is None or not axes:
        axes = [] if node.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    gone = tuple(sorted(axis % rank for axis in axes))

    def move(found: Field) -> Field:
        mean = contract(found, gone, POOLED)
        return Field(mean.values if len(after) == rank else mean.values.squeeze(gone), mean.step)

    return [parts[0].mapped(after, move)]


def _attention(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """Attention as one operator: its output has the places of its queries, (batch, ..., position, channel)."""
    found = []
    for place, tensor in enumerate(node.outputs):
        after = scene.shape(tensor.name)
        if after is None or place or len(after) != parts[0].rank:
            found.append(stated(parts, after or (), UNKNOWN, f"{node.op} '{node.name}' keeps more than its output"))
            continue
        queries = parts[0].mapped(after, lambda field: contract(field, (field.values.ndim - 1,), MIXED))
        found.append(replace(queries, attended=True))
    return found


def _recurrent(node: gs.Node, parts: list[Looks], scene: Scene) -> list[Looks]:
    """LSTM and the like over (step, batch, channel): what they say at a step has that step's place."""
    found = []
    for place, tensor in enumerate(node.outputs):
        after = scene.shape(tensor.name) or ()
        if place or len(after) != 4 or node.attrs.get("layout", 0):
            found.append(stated(parts[:1], after, POOLED, ""))
            continue

        def move(field: Field) -> Field:
            mean = contract(field, (2,), MIXED)
            return Field(mean.values[:, None], mean.step)

        found.append(parts[0].mapped(after, move))
    return found


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"),
        _matmul,
    ),
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(("Attention", "GroupQueryAttention", "MultiHeadAttention", "QAttention"), _attention),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(
        (
            "ArgMax",
            "ArgMin",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ),
        _reduced,
    ),
    "Einsum": _einsum,
}
