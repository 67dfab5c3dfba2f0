"""What a head keeps at its pooled value: it must be a function of what is pooled, of the same image, and not random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.graph.ancestors import ancestors
from onnx_gapmil.lift.coordinates.fields import CONFLICT, MIXED, POOLED, is_number
from onnx_gapmil.lift.verdict import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

#: Refusals that say only that no lift is known: the tensor may still be a function of others that are pooled (a
#: softmax, a comparison, the length of a vector). Any other says what is wrong with the tensor itself.
_NO_LIFT_KNOWN = frozenset(
    {
        "different-grids",
        "head-too-deep",
        "no-spatial-pool",
        "not-a-classifier",
        "quantized-nonuniform",
        "unknown-operator",
    }
)
#: Operators that are one number for each image only along an axis that is not the batch.
_ALONG_AN_AXIS = frozenset(
    {"ArgMax", "ArgMin", "CumSum", "Hardmax", "LogSoftmax", "LpNormalization", "Softmax", "TopK"}
)


def require_pooled(node: gs.Node, walk: Lifting, lifted: Lifted, frozen: str, word: str) -> None:
    """Refuse to keep a tensor at its value unless it is made of pooled tensors of the same image alone.

    Args:
        node: the operator that keeps it.
        walk: the walk.
        lifted: the lift that it is kept for.
        frozen: the tensor.
        word: what it is to the operator.

    Raises:
        HeadRefused: it is random, comes from another input, or its own way back does not end at pools; with the code
            of what its own walk was refused for.
    """
    require_image(node, walk, [grid.source for grid in lifted.features], frozen, f"its {word} '{frozen}'")
    require_own_image(node, walk, frozen, f"its {word} '{frozen}'")
    reason = unpooled(walk, frozen)
    if reason is not None:
        message = f"its {word} '{frozen}' is kept at its value but is no function of what is pooled: {reason.message}"
        raise walk.refuse(reason.code, node, message)


def require_image(node: gs.Node, walk: Lifting, maps: Sequence[str], tensor: str, title: str) -> None:
    """Refuse a tensor that is random, or that other inputs have a part in than those that made some maps.

    Args:
        node: the operator that uses it.
        walk: the walk.
        maps: what is pooled.
        tensor: the tensor.
        title: its name in the refusal.
    """
    sources = frozenset(maps)
    inputs, random = _origins(walk, tensor, sources)
    allowed = frozenset[str]().union(*(_origins(walk, source)[0] for source in sources))
    if random:
        raise walk.refuse("random-head", node, f"{title} is random, made by {random}")
    if other := inputs - allowed:
        raise walk.refuse("side-input", node, f"{title} comes from the input '{min(other)}', not from the image")


def require_own_image(node: gs.Node, walk: Lifting, tensor: str, title: str) -> None:
    """Refuse a tensor that is made of other images of a batch than its own.

    Args:
        node: the operator that uses it.
        walk: the walk.
        tensor: the tensor.
        title: its name in the refusal.
    """
    if _sees_other_images(walk, tensor):
        raise walk.refuse(
            "spatial-mixing-after-pool", node, f"{title} is kept at its value but mixes images of a batch"
        )


def _origins(walk: Lifting, tensor: str, stop: frozenset[str] = frozenset()) -> tuple[frozenset[str], str]:
    """The graph inputs that a tensor depends on, and the first random operator that it is made by.

    Args:
        walk: the walk.
        tensor: where to start.
        stop: tensors that are not looked behind.
    """
    inputs, random = set[str](), ""
    for name in ancestors(walk.graph, tensor, lambda _, read: read in stop):
        maker = walk.graph.producer(name)
        if maker is None:
            inputs.add(name)
        elif not random and not _standardizes(walk, maker):
            random = walk.graph.random_operator(maker)
    return frozenset(inputs), random


def _standardizes(walk: Lifting, node: gs.Node) -> bool:
    """Whether it is a BatchNormalization of weights, which mixes no images in training mode either.

    PyTorch's legacy exporter spells a StdConv2d so (BiT, the stems of hybrid transformers).
    """
    if node.op != "BatchNormalization":
        return False
    made = ancestors(walk.graph, node.inputs[0].name, lambda _node, _read: False)
    return all(walk.graph.producer(name) is not None or name in walk.graph.constants for name in made)


def unpooled(walk: Lifting, tensor: str) -> Refusal | None:
    """Why a tensor is no function of pooled tensors of one image; None where every way back from it ends at lifts."""
    pending, seen = [tensor], {tensor}
    while pending:
        name = pending.pop()
        found = walk.try_lift(name)
        if not isinstance(found, Refusal):
            continue
        node = walk.graph.producer(name)
        if node is None or found.code not in _NO_LIFT_KNOWN:
            return found if node is not None else _of_input(walk, name)
        for read in walk.graph.reads(node):
            if read in seen or walk.is_fixed(read):
                continue
            if _mixes_images(walk, node, read):
                reason = walk.refuse("spatial-mixing-after-pool", node, "it mixes the images of a batch")
                return reason.refusal
            seen.add(read)
            pending.append(read)
    return None


def _sees_other_images(walk: Lifting, tensor: str) -> bool:
    """Whether a tensor is made of other images than those it stands for, by its coordinates along the inputs' batch.

    Of an element that is made of several there is no one coordinate; what was taken of some images for all of them
    (``x[:1]``, broadcast) has coordinates of those alone.
    """
    looks = walk.coordinates.get(tensor)
    fields = [field for view in looks.views for (_, of), field in view.items() if of == 0] if looks is not None else []
    return any(
        np.isin(field.values, (POOLED, MIXED, CONFLICT)).any()
        or 0 < len(np.unique(field.values[is_number(field.values)])) < walk.trace.batch
        for field in fields
    )


def _of_input(walk: Lifting, name: str) -> Refusal:
    where = f"input '{name}'"
    return walk.refuse_at("no-spatial-pool", where, f"a way back from it reaches the {where} without a pool").refusal


def _mixes_images(walk: Lifting, node: gs.Node, read: str) -> bool:
    """Whether an operator works along the batch axis of a pooled tensor."""
    lifted = walk.try_lift(read)
    if isinstance(lifted, Refusal):
        shape, batch_axis = walk.trace.shapes.get(read, ()), walk.batch_axis(read)
    elif lifted.batch_axis is None or lifted.batch_axis < 0:
        return False
    else:
        shape, batch_axis = lifted.shape, lifted.batch_axis
    rank = len(shape)
    if rank == 0 or shape[batch_axis] == 1:
        return False
    if node.op in _ALONG_AN_AXIS:
        return _axis(walk, node) % rank == batch_axis
    if not node.op.startswith("Reduce"):
        return False
    given = node.attrs.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1].name:
        value = walk.value(node.inputs[1].name)
        given = None if value is None else value.reshape(-1).tolist()
    if not given:
        return not int(node.attrs.get("noop_with_empty_axes", 0))
    return any(int(axis) % rank == batch_axis for axis in given)


def _axis(walk: Lifting, node: gs.Node) -> int:
    if node.op == "CumSum":
        value = walk.value(node.inputs[1].name)
        return 0 if value is None else int(value.reshape(-1)[0])
    first = node.op in ("ArgMax", "ArgMin")
    last = walk.graph.opset >= 13 or node.op in ("LpNormalization", "TopK")
    return int(node.attrs.get("axis", 0 if first else -1 if last else 1))
