"""Products of two tensors of the trunk, by letters: MatMul, ONNX Runtime's FusedMatMul, and Einsum in any order.

By letters all of them are one operator: a letter that both factors and the result have counts images or heads, one that
the result has not is summed, and the others are the token's own or those of what it reads.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from onnx_gapmil.lift.coordinates.contractions import letters
from onnx_gapmil.lift.verdict import HeadRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.tokens.boxes import Box
    from onnx_gapmil.lift.tokens.unrolling import Unrolling


@dataclass(frozen=True)
class Product:
    """A product of two tensors.

    Attributes:
        names: the factors.
        labels: of each a letter for each axis.
        output: the letters of the result.
        factor: a number that all of it is multiplied with.
    """

    names: tuple[str, str]
    labels: tuple[str, str]
    output: str
    factor: float = 1.0

    @property
    def turned(self) -> Product:
        """The same with its factors exchanged."""
        return replace(self, names=self.names[::-1], labels=self.labels[::-1])

    @property
    def shared(self) -> str:
        """Letters of both factors and of the result, in the order of the second factor: images and heads."""
        return "".join(letter for letter in self.labels[1] if letter in self.labels[0] and letter in self.output)

    @property
    def summed(self) -> str:
        """Letters of both factors that the result has not, in the order of the second factor."""
        return "".join(letter for letter in self.labels[1] if letter in self.labels[0] and letter not in self.output)

    def free(self, place: int) -> str:
        """Letters of one factor and of the result alone, in the factor's order."""
        own, other = self.labels[place], self.labels[1 - place]
        return "".join(letter for letter in own if letter in self.output and letter not in other)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is summed over that one factor alone has."""
        left, right = (set(own) for own in self.labels)
        return (left | right) - (left & right) <= set(self.output) and set(self.output) <= left | right


def product_of_matrices(own: Unrolling, node: gs.Node, second: int = 1) -> Product:
    """What a MatMul or FusedMatMul multiplies, which broadcasts as NumPy does.

    Args:
        own: the unrolling.
        node: the operator.
        second: at which of its inputs the second factor stands.

    Raises:
        HeadRefused: it turns images and heads.
    """
    if any(node.attrs.get(name, 0) for name in ("transBatchA", "transBatchB")):
        raise own.refuse(node, "it transposes what it multiplies")
    names = node.inputs[0].name, node.inputs[second].name
    ranks = [len(own.walk.shape(name)) for name in names]
    if min(ranks) < 2:
        raise own.refuse(node, "it multiplies a vector")
    lead = string.ascii_lowercase[: max(ranks) - 2]
    left, right = (lead[len(lead) - rank + 2 :] for rank in ranks)
    left += "ZX" if node.attrs.get("transA", 0) else "XZ"
    right += "YZ" if node.attrs.get("transB", 0) else "ZY"
    return Product(names, (left, right), f"{lead}XY", float(node.attrs.get("alpha", 1.0)))


def product_of_einsum(own: Unrolling, node: gs.Node) -> Product:
    """What an Einsum of two operands multiplies.

    Raises:
        HeadRefused: it has more or fewer, takes a diagonal, or sums one of them by itself.
    """
    equation = node.attrs["equation"]
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    names = [read.name for read in node.inputs]
    spelled = letters(text, [len(own.walk.shape(name)) for name in names]) if len(names) == 2 else None
    if spelled is None:
        raise own.refuse(node, f"'{text}' is no product of two tensors")
    (left, right), output = spelled
    found = Product((names[0], names[1]), (left, right), output)
    if not found.is_plain:
        raise own.refuse(node, f"'{text}' sums one operand by itself")
    return found


@dataclass(frozen=True)
class Context:
    """A product of keys and values that sums over tokens, ``K^T V``.

    Attributes:
        keys: the vendor's tensor and its letters.
        values: the same.
        along: the letter of the tokens.
        factor: of the product.
    """

    keys: tuple[str, str]
    values: tuple[str, str]
    along: str
    factor: float


def context_of(own: Unrolling, product: Product) -> Context | None:
    """The product of keys and values that a product's second factor is; None where it is none."""
    name, axes = product.names[1], product.labels[1]
    maker = own.walk.graph.producer(name)
    if maker is None or maker.op not in ("Einsum", "FusedMatMul", "MatMul"):
        return None
    try:
        inner = product_of_einsum(own, maker) if maker.op == "Einsum" else product_of_matrices(own, maker)
    except HeadRefused:
        return None  # a layer like any other
    spare = next(letter for letter in string.ascii_letters if letter not in product.output + "".join(product.labels))
    if len(inner.summed) != 1 or len(inner.output) != len(axes) or any(map(own.walk.is_fixed, inner.names)):
        return None
    renamed = dict(zip(inner.output, axes, strict=True)) | {inner.summed: spare}
    both = [
        (each, "".join(renamed[letter] for letter in own_axes))
        for each, own_axes in zip(inner.names, inner.labels, strict=True)
    ]
    if not all(own.walk.holds_places(each, own_axes.index(spare)) for each, own_axes in both):
        return None
    # The queries are multiplied with the keys' channels.
    both.sort(key=lambda factor: product.summed not in factor[1])
    (_, keys), (_, values) = both
    fits = set(keys) == {*product.shared, *product.summed, spare} and set(values) == {
        *product.shared,
        *product.free(1),
        spare,
    }
    return Context(both[0], both[1], spare, inner.factor) if fits else None


def picked(own: Unrolling, node: gs.Node, row: str, order: np.ndarray, size: tuple[int, ...]) -> str:
    """Elements of a row, the same of each image; some of them several times perhaps.

    Args:
        own: the unrolling.
        node: whose they are.
        row: the row, its elements image by image.
        order: their places in it.
        size: of the result.

    Raises:
        HeadRefused: it takes others of each image.
    """
    batch = own.batch
    count, kept = math.prod(own.shape(row)) // batch, order.size // batch
    places = order.reshape(batch, kept)
    if not np.array_equal(places, places[0] + count * np.arange(batch)[:, None]):
        raise own.refuse(node, "it takes other elements of each image")
    name = row
    if not np.array_equal(places[0], np.arange(count)):
        flat = own.reshaped(row, (batch, count))
        picks = own.program.constant(places[0].astype(np.int64))
        name = own.moved_row("Gather", [flat, picks], (batch, kept), axis=1)
    return name if own.shape(name) == size else own.reshaped(name, size)


def order_of(axes: str, dims: Sequence[int], wanted: str, sizes: dict[str, int]) -> np.ndarray:
    """For each element of a tensor of some letters its place in one whose letters lie in another order.

    Args:
        axes: the letters of what is there.
        dims: its shape.
        wanted: the letters of the result, each of ``axes`` among them; axes of one element may be left out.
        sizes: of the result by letter; what has one element is repeated.
    """
    numbers = np.arange(math.prod(dims), dtype=np.int64).reshape(tuple(dims))
    gone = tuple(place for place, letter in enumerate(axes) if letter not in wanted)
    numbers = numbers.squeeze(gone)
    left = [letter for letter in axes if letter in wanted]
    target = [letter for letter in wanted if letter in left]
    numbers = numbers.transpose([left.index(letter) for letter in target])
    shape = iter(numbers.shape)
    numbers = numbers.reshape([next(shape) if letter in left else 1 for letter in wanted])
    return np.broadcast_to(numbers, [sizes[letter] for letter in wanted]).ravel()


def in_order(
    own: Unrolling, node: gs.Node, row: str, at: tuple[str, tuple[int, ...]], wanted: str, sizes: dict[str, int]
) -> str:
    """A row with its letters in another order; itself where that is no other."""
    order = order_of(*at, wanted, sizes)
    if np.array_equal(order, np.arange(math.prod(at[1]))):
        return row
    return picked(own, node, row, order, (own.batch, order.size // own.batch))


def sizes_of(own: Unrolling, product: Product, box: Box) -> dict[str, int]:
    """How many elements each letter has: of the result as many as the box, of what is summed as the factors."""
    sizes: dict[str, int] = {}
    for name, axes in zip(product.names, product.labels, strict=True):
        for letter, dim in zip(axes, own.walk.shape(name), strict=True):
            sizes[letter] = max(dim, sizes.get(letter, 1))
    return sizes | dict(zip(product.output, box.size, strict=True))
