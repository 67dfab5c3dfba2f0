"""Attach new nodes so that the vendor's outputs stay what they are under ONNX Runtime's optimizers.

A node's fusion often depends on who else reads what it makes. New nodes may therefore read three things of the
vendor's: the maps that are pooled, constants, and the logits. After a lift was built, passes see to it, whatever
the rules wrote:

1. every other pooled value (a gate, a norm's root, ``z`` of a frozen slope) is recomputed from a pool of our own
   (`values`; a class token's row is read where that is safe, `rows`): a reader of a float between operator and
   QuantizeLinear, or within a spelled LayerNormalization or Gelu, would stop its fusion;
2. constants behind a DequantizeLinear are made from the integers (`constants`): a second DequantizeLinear of one
   constant does not load under ``session.x64quantprecision``;
3. fp16 weights go through a Reshape: on a CPU the runtime casts them, and folds that Cast only for one reader. What is
   fp16 and depends on the image is read by a ``Sum`` of one alone (`halves`);
4. a Transpose of ours is kept from moving (`fence`): the runtime pushes transposes of the vendor's towards it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.lift.tokens.walk import TokenWalk
from onnx_gapmil.rewriting.attachment.constants import Constants
from onnx_gapmil.rewriting.attachment.fences import fence, is_fence
from onnx_gapmil.rewriting.attachment.halves import Halves
from onnx_gapmil.rewriting.attachment.shadow import Shadow
from onnx_gapmil.rewriting.attachment.values import Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifting import Lifting
    from onnx_gapmil.rewriting.attachment.rungs import Attachment


def attach(
    walk: Lifting, maps: Iterable[str], logits: Iterable[str], outputs: Sequence[str], rung: Attachment = "plain"
) -> int:
    """Redirect what new nodes read; see the module.

    Args:
        walk: the walk that built them.
        maps: the vendor's tensors that heads pool.
        logits: new outputs that are the vendor's logits; what they are made of is theirs to read.
        outputs: all tensors that are wanted.
        rung: how much is done; see `rungs`.

    Returns:
        How many of the vendor's nodes were repeated for shadows.
    """
    build = walk.build
    free = build.needed(logits)
    values = Values(walk, frozenset(maps), sums=rung == "plain")
    is_row = walk.program.holds if isinstance(walk, TokenWalk) else lambda _: False
    for node in build.needed_nodes(outputs):
        if not any(tensor.name in free for tensor in node.outputs):
            _redirect(walk, node, {name: values.value(name) for name in _reads(walk, node, fixed=False)})
            _redirect(walk, node, {name: values.value(name) for name in _reads(walk, node, fixed=True) if is_row(name)})
    shadow = Shadow(walk)
    for node in build.needed_nodes(outputs) if rung == "shadow" else ():
        _redirect(walk, node, {name: shadow.value(name) for name in _reads(walk, node, fixed=False)})
    constants = Constants(walk)
    for node in build.needed_nodes(outputs):
        _redirect(walk, node, {name: constants.safe(name) for name in _reads(walk, node, fixed=True)})
    halves = Halves(walk)
    for node in build.needed_nodes(outputs):
        _redirect(walk, node, {name: halves.safe(name) for name in _reads(walk, node, fixed=False)})
    _fence_transposes(walk, outputs)
    return shadow.nodes


def _fence_transposes(walk: Lifting, outputs: Sequence[str]) -> None:
    """Fence what our Transposes read; in a class token's rows, which have three a block, only where none is before."""
    build = walk.build
    behind: set[str] = set()
    for node in build.needed_nodes(outputs):
        names = [str(read.name) for read in node.inputs if read.name]
        if node.op == "Transpose" and not build.is_constant(names[0]) and names[0] not in behind:
            _redirect(walk, node, {names[0]: fence(build, names[0], len(node.attrs["perm"]))})
            behind.add(str(node.outputs[0].name))
        if isinstance(walk, TokenWalk) and (
            is_fence(build, node) or all(_is_behind(walk, name, behind) for name in names)
        ):
            behind |= {str(out.name) for out in node.outputs}


def _is_behind(walk: TokenWalk, name: str, behind: set[str]) -> bool:
    """Whether nothing of the vendor's that depends on the image comes to a tensor but over a fence."""
    return name in behind or walk.build.value(name) is not None or walk.base.is_fixed(name)


def _reads(walk: Lifting, node: gs.Node, *, fixed: bool) -> list[str]:
    """The vendor's tensors that a new node reads: constants, or those that depend on the image."""
    names = [str(tensor.name) for tensor in node.inputs if tensor.name]
    vendors = [name for name in names if walk.build.maker(name) is None and walk.build.value(name) is None]
    return [name for name in vendors if walk.is_fixed(name) == fixed]


def _redirect(walk: Lifting, node: gs.Node, instead: dict[str, str]) -> None:
    for old, new in instead.items():
        if old != new:
            walk.build.redirect(node, old, new)
