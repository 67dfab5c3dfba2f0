"""Spellings of the small transformer of `class_token_vit` beyond what most exporters write.

What it computes stays what `Vit.run` decomposes in NumPy: the order of tokens, letters of an Einsum, shared keys and
kinds of masks change how a file says it, and nothing of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tests.references.class_token_vit import Vit, Writer, softmax

#: Letters of a product of queries and keys, and of one of weights and values: images b, heads h, query i, token j.
PLAIN = ("bhid,bhjd->bhij", "bhij,bhjd->bhid")


@dataclass
class Spelled(Vit):
    """The same network, spelled otherwise.

    Attributes:
        order: for each token of the file its number among the class token (0), registers and patches.
        einsum: letters of both products of an attention; empty for MatMul.
        dense: letters of queries, keys and values, (N, T, C) by (C, heads, depth) or another order of these; of the
            layer behind them; empty for layers as ever.
        shared: how many queries share a key and value.
        repeats: how they are spelled: ``expand``, ``tile``, ``gather``, ``broadcast``, or an operator that hides them:
            ONNX's own (``standard``), ONNX Runtime's (``grouped``, or ``packed`` into one tensor).
        mask: ``where``, ``infinite``, ``truth``, ``causal``, ``keys`` or ``shapes``; ``scattered``, a bias
            on the scores of patches alone; "" for what `masked` says.
        linear: keys sum to 1 over the tokens, and queries are multiplied with what keys and values make together.
        divided: of these the exponentials, and what they make is divided by what the weights add up to.
        stacked: branches and what they are added to are stacked before the images, and added up.
        head_norm: what each head brought is divided by its own size, spelled out.
        beside: fixed numbers stand beside what an attention brought, before the layer behind it.
    """

    order: tuple[int, ...] = ()
    einsum: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    shared: int = 1
    repeats: str = "expand"
    mask: str = ""
    linear: bool = False
    divided: bool = False
    stacked: bool = False
    head_norm: bool = False
    beside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.order = self.order or tuple(range(self.tokens))
        for layer in range(self.layers):
            self._share(layer)
            if self.mask:
                self._hide(layer)

    def _share(self, layer: int) -> None:
        """Heads of a group have the same keys and values: those of its first."""
        size, depth = self.width, self.width // self.heads
        columns = np.arange(size).reshape(self.heads, depth)
        first = columns[np.arange(self.heads) // self.shared * self.shared].ravel()
        for name in (f"qkv{layer}", f"qkv_bias{layer}"):
            query, key, value = np.split(self.weights[name], 3, axis=-1)
            self.weights[name] = np.concatenate([query, key[..., first], value[..., first]], axis=-1)

    def _hide(self, layer: int) -> None:
        """A mask in the order of NumPy's tokens, 0 or -inf, of which no row hides all."""
        self.masked = True
        if self.mask == "causal":  # in the order of the file's
            shown = np.tri(self.tokens, dtype=bool)
            place = np.argsort(self.order)
            shown = np.broadcast_to(shown[np.ix_(place, place)], (self.heads, *shown.shape))
        elif self.mask == "keys":
            shown = np.broadcast_to(np.arange(self.tokens) % 3 != 2, (self.heads, self.tokens, self.tokens))
        elif self.mask == "shapes":
            shown = np.broadcast_to(np.asarray(self.order).argsort() % 4 != 3, (self.heads, self.tokens, self.tokens))
        elif self.mask == "scattered":
            self.weights[f"mask{layer}"][:, 0] = self.weights[f"mask{layer}"][:, :, 0] = 0
            return
        else:
            shown = np.random.default_rng(layer).random((self.heads, self.tokens, self.tokens)) < 0.7
            shown[..., 0] = True
        hidden = -10000.0 if self.mask == "keys" else -np.inf  # ONNX Runtime's filler
        self.weights[f"mask{layer}"] = np.where(shown, 0, hidden).astype(np.float32)

    def _weighed(self, query: np.ndarray, key: np.ndarray, layer: int) -> np.ndarray:
        if self.linear and self.divided:
            weights = np.exp(query) @ np.exp(key).transpose(0, 2, 1)
            return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
        if self.linear:
            return np.asarray(query @ softmax(key, axis=1).transpose(0, 2, 1))
        return super()._weighed(query, key, layer)

    def _by_heads(self, branch: np.ndarray, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.head_norm:
            return branch, each
        heads = branch.reshape(len(branch), self.heads, -1)
        factor = 1 / np.sqrt((heads**2).mean(axis=-1, keepdims=True) + 1e-5)
        own = each.reshape(heads.shape) * factor[0]
        return (heads * factor).reshape(branch.shape), own.reshape(each.shape)

    def filed(self, array: np.ndarray, *axes: int) -> np.ndarray:
        """An array of tokens in the file's order."""
        for axis in axes:
            array = np.take(array, self.order, axis=axis)
        return array

    def model(self) -> onnx.ModelProto:
        """The network as a model with the input ``x`` and the output ``y``."""
        return _Writer(self).model()


def joined(vit: Vit) -> onnx.ModelProto:
    """A head that pools, too, as DINOv2 has it: one layer on the token and the mean side by side."""
    model = vit.model()
    nodes = model.graph.node
    gemm, mean, product, total = (
        next(node for node in reversed(nodes) if node.op_type == op) for op in ("Gemm", "ReduceMean", "MatMul", "Add")
    )
    both = np.concatenate([vit.weights["head"], vit.weights["pool_head"]])
    model.graph.initializer.append(onnx.numpy_helper.from_array(both, "both"))
    join = onnx.helper.make_node("Concat", [gemm.input[0], mean.output[0]], ["joined"], name="Concat", axis=1)
    nodes.insert(list(nodes).index(product), join)
    for node in (gemm, product):
        nodes.remove(node)
    total.CopyFrom(onnx.helper.make_node("Gemm", ["joined", "both", "head_bias"], ["y"], name="Gemm"))
    return model


class _Writer(Writer):
    def __init__(self, vit: Spelled) -> None:
        super().__init__(vit)
        self._own = vit

    def _positions(self) -> str:
        return self.const(self._own.filed(self._own.weights["position"], 1))

    def _embedded(self) -> str:
        tokens = super()._embedded()
        kept = tuple(range(self._own.tokens))
        if self._own.order == kept:
            return tokens
        # Runs of tokens, each cut out of its own source, side by side.
        start, patches = self._nodes[-1].input
        ahead = 1 + self._own.registers
        self._nodes.pop()
        runs: list[list[int]] = []
        for number in self._own.order:
            follows = runs and runs[-1][-1] == number - 1 and (number >= ahead) == (runs[-1][-1] >= ahead)
            runs[-1].append(number) if follows else runs.append([number])
        parts = []
        for run in runs:
            source, offset, count = (start, 0, ahead) if run[0] < ahead else (patches, ahead, self._own.tokens - ahead)
            bounds = [self.ints(at) for at in (run[0] - offset, run[-1] - offset + 1, 1)]
            parts.append(source if len(run) == count else self.node("Slice", source, *bounds))
        return self.node("Concat", *parts, axis=1)

    def _taken(self, tokens: str) -> str:
        place = self._own.order.index(0)
        return self.node("Gather", tokens, self.const(np.asarray(place), np.int64), axis=1)

    def _joined(self, tokens: str, branch: str, scale: str) -> str:
        if not self._own.stacked:
            return super()._joined(tokens, branch, scale)
        both = self.node("Concat", *(self.node("Unsqueeze", part, self.ints(0)) for part in (tokens, branch)), axis=0)
        return self.node("ReduceSum", both, self.ints(0), keepdims=0)

    def _attention(self, tokens: str, layer: int) -> str:
        own = self._own
        depth = own.width // own.heads
        hidden = own.repeats in ("standard", "grouped", "packed") or own.qkv in ("Attention", "MultiHeadAttention")
        if hidden:
            return self._dense(self._hidden(tokens, layer), f"out{layer}", f"out_bias{layer}")
        query, key, value = (
            self._lettered(tokens, layer, place) if own.dense else self._headed(tokens, layer, place)
            for place in range(3)
        )
        query = self.node("Mul", query, self.const(depth**-0.5))
        first, second = own.einsum or PLAIN
        if own.linear:
            return self._linear(query, key, value, layer)
        if own.repeats == "broadcast":  # (N, groups, shared, T, depth), keys and values of one head each
            return self._broadcast((query, key, value), layer)
        scores = self._product(query, key, first, ("bhid", "bhjd"), "bhij")
        scores = self._masked(scores, layer, first.split("->")[1])
        axis = first.split("->")[1].index("j")
        weights = self.node("Softmax", scores, axis=axis)
        brought = self._product(weights, value, second, (first.split("->")[1], "bhjd"), "bihd")
        if own.dense:
            weight = own.weights[f"out{layer}"].reshape(own.heads, depth, own.width)
            return self.node(
                "Add", self._by_letters(brought, own.dense[1], weight, "hdc"), self.weight(f"out_bias{layer}")
            )
        if own.head_norm:
            square = self.node("ReduceMean", self.node("Mul", brought, brought), self.ints(3), keepdims=1)
            size = self.node("Sqrt", self.node("Add", square, self.const(1e-5)))
            brought = self.node("Mul", brought, self.node("Reciprocal", size))
        laid = self.pair(self.node("Reshape", brought, self.ints(0, 0, own.width)))
        return self._beside(laid, layer) if own.beside else self._dense(laid, f"out{layer}", f"out_bias{layer}")

    def _beside(self, brought: str, layer: int) -> str:
        """A layer on fixed numbers, too, once for each token and image, whose part its bias takes off again."""
        own = self._own
        generator = np.random.default_rng(layer)
        numbers, more = generator.standard_normal((1, 1, 3)), generator.standard_normal((3, own.width))
        numbers, more = numbers.astype(np.float32), more.astype(np.float32)
        ahead = self.node("Slice", self.node("Shape", brought), self.ints(0), self.ints(2), self.ints(0))
        size = self.node("Concat", ahead, self.ints(3), axis=0)
        joined = self.node("Concat", brought, self.node("Expand", self.const(numbers), size), axis=2)
        weight = self.const(np.concatenate([own.weights[f"out{layer}"], more]))
        bias = own.weights[f"out_bias{layer}"] - (numbers @ more)[0, 0]
        return self.node("Add", self.node("MatMul", joined, weight), self.const(bias))

    def _product(self, one: str, two: str, equation: str, there: tuple[str, str], after: str) -> str:
        """An Einsum of tensors that lie in other orders, or the MatMul that it is."""
        (left, right), output = equation.split("->")[0].split(","), equation.split("->")[1]
        wants_scores = "j" in output
        if not self._own.einsum:
            if wants_scores:
                return self.node("MatMul", one, self.node("Transpose", two, perm=[0, 1, 3, 2]))
            return self.node("Transpose", self.node("MatMul", one, two), perm=[0, 2, 1, 3])
        given = [(one, there[0]), (two, there[1])]
        if set(left) != set(there[0]):  # the operands stand the other way round
            given.reverse()
        turned = [self._turned(*each, letters) for each, letters in zip(given, (left, right), strict=True)]
        made = self.node("Einsum", *turned, equation=equation)
        return made if wants_scores else self._turned(made, output, after)

    def _turned(self, data: str, there: str, wanted: str) -> str:
        if there == wanted:
            return data
        return self.node("Transpose", data, perm=[there.index(letter) for letter in wanted])

    def _part(self, layer: int, place: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Weight, bias and heads of queries, keys or values, of heads that are shared one each."""
        own = self._own
        depth = own.width // own.heads
        weight, bias = (np.split(own.weights[name], 3, axis=-1)[place] for name in (f"qkv{layer}", f"qkv_bias{layer}"))
        if place == 0 or own.shared == 1:
            return weight, bias, own.heads
        kept = np.arange(own.width).reshape(own.heads, depth)[:: own.shared].ravel()
        return weight[:, kept], bias[kept], own.heads // own.shared

    def _headed(self, tokens: str, layer: int, place: int) -> str:
        """(N, heads, T, depth)."""
        own = self._own
        depth = own.width // own.heads
        weight, bias, heads = self._part(layer, place)
        made = self.pair(self.node("Add", self.node("MatMul", tokens, self.const(weight)), self.const(bias)))
        laid = self.node("Reshape", made, self.ints(0, 0, heads, depth))
        laid = self.node("Transpose", laid, perm=[0, 2, 1, 3])
        if heads == own.heads or own.repeats == "broadcast":
            return laid
        if own.repeats == "gather":
            picks = np.arange(own.heads) // own.shared
            return self.node("Gather", laid, self.const(picks, np.int64), axis=1)
        apart = self.node("Unsqueeze", laid, self.ints(2))
        if own.repeats == "tile":
            more = self.node("Tile", apart, self.ints(1, 1, own.shared, 1, 1))
        else:
            more = self.node("Expand", apart, self.ints(1, heads, own.shared, own.tokens, depth))
        return self.node("Reshape", more, self.ints(0, own.heads, own.tokens, depth))

    def _lettered(self, tokens: str, layer: int, place: int) -> str:
        """The same by an Einsum with a weight of three axes."""
        own = self._own
        weight, bias, heads = self._part(layer, place)
        depth = own.width // own.heads
        equation = own.dense[0]
        made = self._by_letters(tokens, equation, weight.reshape(own.width, heads, depth), "chd")
        output = equation.split("->")[1]
        bias = bias.reshape(heads, depth)
        wide = [bias.shape["hd".index(letter)] if letter in "hd" else 1 for letter in output]
        bias = bias if output.index("h") < output.index("d") else bias.T
        return self._turned(self.node("Add", made, self.const(bias.reshape(wide))), output, "bhtd")

    def _by_letters(self, data: str, equation: str, weight: np.ndarray, axes: str) -> str:
        left, right = equation.split("->")[0].split(",")
        fixed, moves = (left, False) if set(left) == set(axes) else (right, True)
        factor = self.const(weight.transpose([axes.index(letter) for letter in fixed]))
        return self.node("Einsum", *((data, factor) if moves else (factor, data)), equation=equation)

    def _masked(self, scores: str, layer: int, letters: str) -> str:
        own = self._own
        if not own.masked:
            return scores
        mask = own.filed(own.weights[f"mask{layer}"], 1, 2)[None]
        mask = mask.transpose(["bhij".index(letter) for letter in letters])
        if own.mask == "where":
            return self.node("Where", self.const(mask == 0, np.bool_), scores, self.const(-np.inf))
        if own.mask == "scattered":  # scores[:, :, 1:, 1:] += bias
            places = np.indices((own.batch or 1, own.heads, own.tokens, own.tokens))[:, :, :, 1:, 1:]
            bounds = [self.ints(1, 1), self.ints(own.tokens, own.tokens), self.ints(2, 3)]
            biased = self.node("Add", self.node("Slice", scores, *bounds), self.const(mask[:, :, 1:, 1:]))
            return self.node("ScatterND", scores, self.const(np.moveaxis(places, 0, -1), np.int64), biased)
        if own.mask == "shapes":  # every fourth token, found from how many there are
            count = self.node("Squeeze", self.node("Gather", self.node("Shape", scores), self.ints(3), axis=0))
            numbers = self.node("Range", self._number(0), count, self._number(1))
            shown = self.node("Less", self.node("Mod", numbers, self._number(4)), self._number(3))
            return self.node("Where", shown, scores, self.const(-np.inf))
        return self.node("Add", scores, self.const(mask))

    def _linear(self, query: str, key: str, value: str, layer: int) -> str:
        """CoaT's: what keys and values make of all tokens, and then the queries; what it pads with adds nothing."""
        own = self._own
        key = self.node("Exp", key) if own.divided else self.node("Softmax", key, axis=2)
        query = self.node("Exp", query) if own.divided else query
        if own.einsum:
            context = self.node("Einsum", key, value, equation=own.einsum[0])
            brought = self.node("Einsum", query, context, equation=own.einsum[1])
        else:
            context = self.node("MatMul", self.node("Transpose", key, perm=[0, 1, 3, 2]), value)
            brought = self.node("MatMul", query, context)
        if own.divided:
            each = self.node("Mul", query, self.node("ReduceSum", key, self.ints(2), keepdims=1))
            brought = self.node("Div", brought, self.node("ReduceSum", each, self.ints(3), keepdims=1))
        patches = self.node("Slice", query, self.ints(1), self.ints(own.tokens), self.ints(2))
        patches = self.node("Mul", patches, self.const(0.0))
        brought = self.node("Add", brought, self.node("Pad", patches, self.ints(0, 0, 1, 0, 0, 0, 0, 0)))
        laid = self.node("Reshape", self.node("Transpose", brought, perm=[0, 2, 1, 3]), self.ints(0, 0, own.width))
        return self._dense(laid, f"out{layer}", f"out_bias{layer}")

    def _number(self, value: int) -> str:
        return self.const(np.asarray(value), np.int64)

    def _broadcast(self, parts: tuple[str, str, str], layer: int) -> str:
        """Queries in groups against keys that are broadcast."""
        own = self._own
        depth, groups = own.width // own.heads, own.heads // own.shared
        query = self.node("Reshape", parts[0], self.ints(0, groups, own.shared, own.tokens, depth))
        key, value = (self.node("Unsqueeze", part, self.ints(2)) for part in parts[1:])
        scores = self.node("MatMul", query, self.node("Transpose", key, perm=[0, 1, 2, 4, 3]))
        brought = self.node("MatMul", self.node("Softmax", scores, axis=-1), value)
        laid = self.node("Transpose", brought, perm=[0, 3, 1, 2, 4])
        return self._dense(self.node("Reshape", laid, self.ints(0, 0, own.width)), f"out{layer}", f"out_bias{layer}")

    def _hidden(self, tokens: str, layer: int) -> str:
        """The attention as one operator."""
        own = self._own
        if own.qkv == "Attention":
            given = [tokens, self.weight(f"qkv{layer}"), self.weight(f"qkv_bias{layer}"), self._keys(layer)]
            return self._of_runtime("Attention", given)
        parts = []
        for place in range(3):
            weight, bias, _ = self._part(layer, place)
            parts.append(self.node("Add", self.node("MatMul", tokens, self.const(weight)), self.const(bias)))
        if own.qkv == "MultiHeadAttention":
            return self._of_runtime("MultiHeadAttention", [*parts, "", self._keys(layer)])
        if own.repeats in ("grouped", "packed"):
            return self._grouped(parts)
        mask = own.filed(own.weights[f"mask{layer}"], 1, 2)[None]
        if own.mask == "truth":
            parts.append(self.const(mask == 0, np.bool_))
        elif own.masked and own.mask != "causal":
            parts.append(self.const(mask))
        heads = {"q_num_heads": own.heads, "kv_num_heads": own.heads // own.shared}
        return self.node("Attention", *parts, **heads, is_causal=int(own.mask == "causal"))

    def _of_runtime(self, op: str, given: list[str]) -> str:
        own = self._own
        causal = int(own.mask == "causal")
        return self.node(op, *given, domain="com.microsoft", num_heads=own.heads, unidirectional=causal)

    def _keys(self, layer: int) -> str:
        """(N, T) of integers, of which 0 hides a key of all queries."""
        own = self._own
        if own.mask != "keys":
            return ""
        shown = own.filed(own.weights[f"mask{layer}"][0, 0], 0) == 0
        return self.const(np.tile(shown, (own.batch or 1, 1)), np.int32)

    def _grouped(self, parts: list[str]) -> str:
        """ONNX Runtime's GroupQueryAttention, whose lengths are those of whole images."""
        own = self._own
        given = [self.node("Concat", *parts, axis=2), "", ""] if own.repeats == "packed" else parts
        last = self.const(np.full(own.batch or 1, own.tokens - 1), np.int32)
        heads = {"num_heads": own.heads, "kv_num_heads": own.heads // own.shared}
        return self.node(
            "GroupQueryAttention",
            *given,
            "",
            "",
            last,
            self.const(np.asarray(own.tokens), np.int32),
            domain="com.microsoft",
            outputs=3,
            causal=int(own.mask == "causal"),
            **heads,
        )

    @property
    def opset(self) -> int:
        """Of ONNX's own operators."""
        return 23 if self._own.repeats == "standard" else super().opset
