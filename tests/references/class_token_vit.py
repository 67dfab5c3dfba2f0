"""A small vision transformer that reads its class token, in ONNX as exporters spell it, and its decomposition in NumPy.

The decomposition is written from the formulas alone, in float64, and shares nothing with the package:
direct effects (arXiv 2310.05916), with the last norm's deviation kept; ``through`` lets what was brought pass the MLPs
by their slopes at the pooled value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import erf

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5
#: Scale of all tensors that depend on the image, where it is fixed; of a range that cuts some of them.
STEP = 1 / 32
#: Integers of static quantization and their zero point.
PAIRS: dict[str, tuple[type, int]] = {"uint8": (np.uint8, 120), "int8": (np.int8, -3)}
_ERF = np.vectorize(erf)


@dataclass
class Vit:
    """The network; images are (N, 3, patch * rows, patch * columns), of square patches.

    Attributes:
        layers: blocks.
        registers: tokens between the class token and the patches.
        qkv: ``split``, ``gather`` or ``slice`` of one fused layer, or ``separate`` ones, or ``folded`` into the batch;
            or an operator that hides them: ``Attention``, ``MultiHeadAttention`` of ONNX Runtime, ``standard``.
        gelu: ``erf``, ``tanh`` or ``operator``.
        pools: the head adds what a layer of its own makes of the mean over the patches.
        takes: ``gather``, ``slice`` or ``split``: how the head takes the token.
        scale_first: LayerScale behind each branch.
        post_norm: norms behind the sums and not before the branches.
        norm_by_pools: norms spelled out, their means by GlobalAveragePool, as tf2onnx does.
        masked: a bias on the attention's scores, another for each head and pair of tokens.
        tokens_first: (T, N, C) in the trunk.
        batch: fixed number of images; None leaves it open.
        half: float16.
        integers: ``uint8`` or ``int8``: static quantization by pairs, of weights column by column; ``dynamic``: as ONNX
            Runtime's dynamic quantizer spells it, whose range is that of all images of a batch.
        rows: of patches.
        columns: of patches.
        width: channels.
        heads: of each attention.
        patch: side of a patch in pixels.
        classes: how many there are.
        up: how much wider the MLPs are.
        weights: by name, float32.
        scales: of those that are integers in the file, one for each column or one for all.
        margin: how near to the middle between two steps a number lay, in steps; after `run`.
    """

    layers: int = 2
    registers: int = 0
    qkv: str = "split"
    gelu: str = "erf"
    takes: str = "gather"
    pools: bool = False
    scale_first: bool = False
    post_norm: bool = False
    norm_by_pools: bool = False
    masked: bool = False
    tokens_first: bool = False
    batch: int | None = None
    half: bool = False
    integers: str = ""
    rows: int = 2
    columns: int = 3
    width: int = 8
    heads: int = 2
    patch: int = 4
    classes: int = CLASSES
    up: int = 2
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    scales: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator, size = np.random.default_rng(7), self.width
        self.tokens = 1 + self.registers + self.rows * self.columns

        def made(name: str, *shape: int, size: float = 0.5, mean: float = 0.0) -> None:
            self.weights[name] = (mean + size * generator.standard_normal(shape)).astype(np.float32)

        made("patches", size, 3, self.patch, self.patch, size=0.2)
        made("start", 1, 1 + self.registers, size)
        made("position", 1, self.tokens, size)
        for layer in range(self.layers):
            made(f"qkv{layer}", size, 3 * size, size=0.5)
            made(f"qkv_bias{layer}", 3 * size)
            made(f"out{layer}", size, size)
            made(f"out_bias{layer}", size)
            made(f"up{layer}", size, self.up * size)
            made(f"up_bias{layer}", self.up * size)
            made(f"down{layer}", self.up * size, size)
            made(f"down_bias{layer}", size)
            made(f"mask{layer}", self.heads, self.tokens, self.tokens)
            for part in ("a", "b"):
                made(f"gain_{part}{layer}", size, size=0.2, mean=1.0)
                made(f"shift_{part}{layer}", size, size=0.2)
                made(f"scale_{part}{layer}", size, size=0.2, mean=0.6)
        made("gain", size, size=0.2, mean=1.0)
        made("shift", size, size=0.2)
        made("head", size, self.classes)
        made("head_bias", self.classes)
        made("pool_head", size, self.classes)
        self.margin = 0.5
        for name, array in self.weights.items() if self.integers else ():
            if array.ndim == 2 and not name.endswith("head"):
                # Integers of 8 bits times a scale for each column, or one for all.
                axis = None if self.integers == "dynamic" else 0
                scale = (np.abs(array).max(axis=axis, keepdims=True) / 127).astype(np.float32)
                self.scales[name] = scale.reshape(-1)
                self.weights[name] = np.round(array / scale).astype(np.float32) * scale

    # --- in NumPy -------------------------------------------------------------------------------------------------

    @cached_property
    def _wide(self) -> dict[str, np.ndarray]:
        return {
            name: array.astype(np.float16 if self.half else np.float32).astype(np.float64)
            for name, array in self.weights.items()
        }

    def run(self, images: np.ndarray, mode: str = "direct") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits (N, K), grid (N, K, rows, columns), and what no place brings of the logits (N, K)."""
        answers = [self._one(image.astype(np.float64), mode) for image in images]
        logits, grids, apart = (np.stack(parts) for parts in zip(*answers, strict=True))
        return logits, grids, apart

    def _one(self, image: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        w, cells = self._wide, self.rows * self.columns
        blocks = (
            image.reshape(3, self.rows, self.patch, self.columns, self.patch)
            .transpose(1, 3, 0, 2, 4)
            .reshape(cells, -1)
        )
        patches = blocks @ w["patches"].reshape(self.width, -1).T
        tokens = self._static(np.concatenate([w["start"][0], patches]) + w["position"][0])[0]
        # Row 0 once more: what each cell brings, and what has no place; their sum of means is row 0 itself.
        placed, rest = np.zeros((cells, self.width)), tokens[0].copy()
        for layer in range(self.layers):

            def norm(part: str, layer: int = layer) -> tuple[np.ndarray, np.ndarray]:
                return w[f"gain_{part}{layer}"], w[f"shift_{part}{layer}"]

            before = tokens if self.post_norm else self._input(_norm(tokens, *norm("a")))[0]
            branch, brought, other = self._attention(before, layer)
            scale = w[f"scale_a{layer}"] if self.scale_first else 1.0
            placed, rest = placed + brought * scale, rest + other * scale
            tokens, placed, rest = self._static(tokens + branch * scale, placed, rest)
            if self.post_norm:
                placed, rest, tokens = _lifted_norm(placed, rest, tokens, *norm("a"))
            cell, alike, inner = placed, rest, tokens
            if not self.post_norm:
                cell, alike, inner = self._input(*_lifted_norm(placed, rest, tokens, *norm("b")), turned=True)
            branch, cell, alike = self._mlp(inner, cell, alike, layer)
            scale = w[f"scale_b{layer}"] if self.scale_first else 1.0
            if mode == "through":
                placed, rest = placed + cell * scale, rest + alike * scale
            else:
                rest = rest + branch[0] * scale
            tokens, placed, rest = self._static(tokens + branch * scale, placed, rest)
            if self.post_norm:
                placed, rest, tokens = _lifted_norm(placed, rest, tokens, *norm("b"))
        placed, rest, tokens = _lifted_norm(placed, rest, tokens, w["gain"], w["shift"])
        tokens, placed, rest = self._static(tokens, placed, rest)
        logits = tokens[0] @ w["head"] + w["head_bias"]
        apart = rest @ w["head"] + w["head_bias"]
        grid = cells * (placed @ w["head"]) + apart
        if self.pools:
            own = tokens[1 + self.registers :] @ w["pool_head"]
            logits, grid = logits + own.mean(axis=0), grid + own
        return logits, grid.T.reshape(self.classes, self.rows, self.columns), apart

    def _attention(self, tokens: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The branch for all tokens; what each cell brings to the first; what other tokens and the bias bring it."""
        w, depth = self._wide, self.width // self.heads
        fused = self._static(tokens @ w[f"qkv{layer}"] + w[f"qkv_bias{layer}"])[0]
        query, key, value = (
            part.reshape(-1, self.heads, depth).transpose(1, 0, 2) for part in np.split(fused, 3, axis=1)
        )
        weights = self._weighed(query * depth**-0.5, key, layer)
        out, bias = w[f"out{layer}"], w[f"out_bias{layer}"]
        first = 1 + self.registers
        branch = (weights @ value).transpose(1, 0, 2).reshape(len(tokens), -1)
        each = (weights[:, 0, :, None] * value).transpose(1, 0, 2).reshape(len(tokens), -1)
        branch, each = self._by_heads(branch, each)
        branch, brought, other = self._input(branch, each[first:], each[:first].sum(axis=0))
        return self._static(branch @ out + bias, brought @ out, other @ out + bias)

    def _weighed(self, query: np.ndarray, key: np.ndarray, layer: int) -> np.ndarray:
        """How much each token takes of each, head by head."""
        scores = query @ key.transpose(0, 2, 1)
        return softmax(scores + self._wide[f"mask{layer}"] if self.masked else scores, axis=-1)

    def _by_heads(self, branch: np.ndarray, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What heads make of what they brought, of all tokens and of what each brought the first."""
        return branch, each

    def _mlp(
        self, inner: np.ndarray, cell: np.ndarray, alike: np.ndarray, layer: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An MLP of all tokens, and of the first one's parts by its slopes."""
        (up, down), (up_bias, down_bias) = (
            [self._wide[f"{name}{end}{layer}"] for name in ("up", "down")] for end in ("", "_bias")
        )
        z, cell, alike = self._static(inner @ up + up_bias, cell @ up, alike @ up + up_bias)
        bent = self._bend(z)
        slope = np.where(z[0] == 0, 0.5, bent[0] / np.where(z[0] == 0, 1, z[0]))  # GELU's at 0
        bent, cell, alike = self._input(bent, cell * slope, alike * slope)
        return self._static(bent @ down + down_bias, cell @ down, alike @ down + down_bias)

    # --- to integers, and back

    def _input(self, first: np.ndarray, *parts: np.ndarray, turned: bool = False) -> tuple[np.ndarray, ...]:
        """What a dense layer reads: rounded in any case, by its own range where that is found at run time."""
        if turned:
            values, placed, rest = self._input(parts[1], first, parts[0])
            return placed, rest, values
        if self.integers != "dynamic":
            return self._static(first, *parts)
        low, high = min(first.min(), 0.0), max(first.max(), 0.0)
        step = (high - low) / 255
        zero = np.round(-low / step)
        return self._pair(first, parts, step, (-zero * step, (255 - zero) * step), clips=False)

    def _static(self, values: np.ndarray, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
        """A pair of QuantizeLinear and DequantizeLinear, on all tokens and on the first one's parts."""
        if self.integers not in PAIRS:
            return (values, *parts)
        kind, zero = PAIRS[self.integers]
        limits = np.iinfo(kind)
        return self._pair(values, parts, STEP, (STEP * (limits.min - zero), STEP * (limits.max - zero)))

    def _pair(
        self,
        values: np.ndarray,
        parts: tuple[np.ndarray, ...],
        step: float,
        ends: tuple[float, float],
        *,
        clips: bool = True,
    ) -> tuple[np.ndarray, ...]:
        """A range cuts cells in proportion; what rounding adds has no place."""
        inside = np.clip(values, *ends) if clips else values
        made = np.clip(np.round(values / step) * step, *ends)
        self.margin = min(self.margin, float(np.abs(np.abs(values / step) % 1 - 0.5).min()))
        if not parts:
            return (made,)
        placed, rest = parts
        share = np.where(values[0] == 0, 1, inside[0] / np.where(values[0] == 0, 1, values[0]))
        return made, placed * share, rest * share + made[0] - inside[0]

    def _bend(self, z: np.ndarray) -> np.ndarray:
        if self.gelu == "tanh":
            return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
        return 0.5 * z * (1 + _ERF(z / np.sqrt(2)))

    # --- in ONNX --------------------------------------------------------------------------------------------------

    def model(self) -> onnx.ModelProto:
        """The network as a model with the input ``x`` and the output ``y``."""
        return Writer(self).model()


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    """Along an axis."""
    grown = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(grown / grown.sum(axis=axis, keepdims=True))


def _norm(tokens: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * gain + shift


def _lifted_norm(
    placed: np.ndarray, rest: np.ndarray, tokens: np.ndarray, gain: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A norm of all tokens, and of the first one's parts with its deviation kept."""
    size = np.sqrt(tokens[0].var() + 1e-5)
    cell = (placed - placed.mean(axis=-1, keepdims=True)) / size * gain
    return cell, (rest - rest.mean()) / size * gain + shift, _norm(tokens, gain, shift)


class Writer:
    """Writes the network as a model."""

    def __init__(self, vit: Vit) -> None:
        self._vit = vit
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self._kind = np.float16 if vit.half else np.float32

    def node(self, op: str, *inputs: str, outputs: int = 1, **attrs: object) -> str:
        names = [f"{op.lower()}_{len(self._nodes)}_{place}" for place in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{len(self._nodes)}", **attrs))
        return names[0]

    def const(self, array: np.ndarray, kind: type | None = None) -> str:
        name = f"c{len(self._tensors)}"
        self._tensors.append(numpy_helper.from_array(np.asarray(array, kind or self._kind), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.asarray(values), np.int64)

    def weight(self, name: str) -> str:
        scales = self._vit.scales.get(name)
        if scales is not None and self._vit.integers in PAIRS:
            return self.node("DequantizeLinear", self._integers(name), self.const(scales), axis=1)
        if all(tensor.name != name for tensor in self._tensors):
            self._tensors.append(numpy_helper.from_array(self._vit.weights[name].astype(self._kind), name))
        return name

    def model(self) -> onnx.ModelProto:
        vit = self._vit
        tokens = self.pair(self.node("Add", self._embedded(), self._positions()))
        if vit.tokens_first:
            tokens = self.node("Transpose", tokens, perm=[1, 0, 2])
        for layer in range(vit.layers):
            tokens = self._block(tokens, layer)
        tokens = self._norm(tokens, "gain", "shift")
        answer = self.node("Gemm", self._taken(tokens), self.weight("head"), self.weight("head_bias"))
        if vit.pools:
            bounds = [self.ints(at) for at in (1 + vit.registers, vit.tokens, 1)]
            mean = self.node("ReduceMean", self.node("Slice", tokens, *bounds), self.ints(1), keepdims=0)
            self.node("Add", answer, self.node("MatMul", mean, self.weight("pool_head")))
        self._nodes[-1].output[0] = "y"
        batch: int | str = "n" if vit.batch is None else vit.batch
        kind = TensorProto.FLOAT16 if vit.half else TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "vit",
            [helper.make_tensor_value_info("x", kind, [batch, 3, vit.patch * vit.rows, vit.patch * vit.columns])],
            [helper.make_tensor_value_info("y", kind, [batch, vit.classes])],
            self._tensors,
        )
        return helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", self.opset),
                helper.make_opsetid("com.microsoft", 1),
            ],
            ir_version=10,
        )

    @property
    def opset(self) -> int:
        """Of ONNX's own operators."""
        return 23 if self._vit.qkv == "standard" else 20

    def _embedded(self) -> str:
        """The class token, registers and patches (N, T, C)."""
        vit = self._vit
        size, cells = vit.width, vit.rows * vit.columns
        patches = self.node("Conv", "x", self.weight("patches"), kernel_shape=[vit.patch] * 2, strides=[vit.patch] * 2)
        patches = self.node("Transpose", self.node("Reshape", patches, self.ints(0, size, cells)), perm=[0, 2, 1])
        images = self.node("Gather", self.node("Shape", "x"), self.ints(0), axis=0)
        shape = self.node("Concat", images, self.ints(1 + vit.registers, size), axis=0)
        return self.node("Concat", self.node("Expand", self.weight("start"), shape), patches, axis=1)

    def _positions(self) -> str:
        return self.weight("position")

    def _block(self, tokens: str, layer: int) -> str:
        vit = self._vit
        before = tokens if vit.post_norm else self._norm(tokens, f"gain_a{layer}", f"shift_a{layer}")
        tokens = self._joined(tokens, self._attention(before, layer), f"scale_a{layer}")
        if vit.post_norm:
            tokens = self._norm(tokens, f"gain_a{layer}", f"shift_a{layer}")
        before = tokens if vit.post_norm else self._norm(tokens, f"gain_b{layer}", f"shift_b{layer}")
        grown = self.pair(self._gelu(self._dense(before, f"up{layer}", f"up_bias{layer}")))
        tokens = self._joined(tokens, self._dense(grown, f"down{layer}", f"down_bias{layer}"), f"scale_b{layer}")
        return self._norm(tokens, f"gain_b{layer}", f"shift_b{layer}") if vit.post_norm else tokens

    def _joined(self, tokens: str, branch: str, scale: str) -> str:
        if self._vit.scale_first:
            branch = self.node("Mul", branch, self.weight(scale))
        return self.pair(self.node("Add", tokens, branch))

    def _dense(self, data: str, weight: str, bias: str) -> str:
        product = self._dynamic(data, weight) if self._vit.integers == "dynamic" else ""
        product = product or self.node("MatMul", data, self.weight(weight))
        return self.pair(self.node("Add", product, self.weight(bias)))

    def _dynamic(self, data: str, weight: str) -> str:
        """A dense layer as ONNX Runtime's dynamic quantizer spells it."""
        made = self.node("DynamicQuantizeLinear", data, outputs=3)
        integers, scale, zero = (f"{made.rsplit('_', 1)[0]}_{place}" for place in range(3))
        factor = self.node("Mul", scale, self.const(self._vit.scales[weight][0]))
        given = [integers, self._integers(weight), zero, self.const(np.int8(0), np.int8)]
        return self.node("Mul", self.node("Cast", self.node("MatMulInteger", *given), to=TensorProto.FLOAT), factor)

    def _integers(self, weight: str) -> str:
        return self.const(np.round(self._vit.weights[weight] / self._vit.scales[weight]), np.int8)

    def pair(self, data: str) -> str:
        """QuantizeLinear and DequantizeLinear, where the network has them."""
        if self._vit.integers not in PAIRS:
            return data
        kind, zero = PAIRS[self._vit.integers]
        given = [self.const(np.float32(STEP)), self.const(np.asarray(zero), kind)]
        return self.node("DequantizeLinear", self.node("QuantizeLinear", data, *given), *given)

    def _norm(self, data: str, gain: str, shift: str) -> str:
        if self._vit.norm_by_pools:
            centred = self.node("Sub", data, self.node("GlobalAveragePool", data))
            square = self.node("GlobalAveragePool", self.node("Mul", centred, centred))
            size = self.node("Reciprocal", self.node("Sqrt", self.node("Add", square, self.const(1e-5))))
            scaled = self.node("Mul", centred, self.node("Mul", size, self.weight(gain)))
            return self.node("Add", scaled, self.weight(shift))
        return self.pair(
            self.node("LayerNormalization", data, self.weight(gain), self.weight(shift), axis=-1, epsilon=1e-5)
        )

    def _gelu(self, z: str) -> str:
        kind = self._vit.gelu
        if kind == "operator":
            return self.node("Gelu", z)
        if kind == "tanh":
            cube = self.node("Mul", self.node("Pow", z, self.const(3.0)), self.const(0.044715))
            inner = self.node("Tanh", self.node("Mul", self.node("Add", z, cube), self.const(np.sqrt(2 / np.pi))))
        else:
            inner = self.node("Erf", self.node("Div", z, self.const(np.sqrt(2))))
        half = self.node("Mul", z, self.const(0.5))
        return self.node("Mul", half, self.node("Add", inner, self.const(1.0)))

    def _attention(self, tokens: str, layer: int) -> str:
        vit = self._vit
        depth, size = vit.width // vit.heads, vit.width
        if vit.qkv in ("Attention", "MultiHeadAttention", "standard"):
            return self._dense(self._hidden(tokens, layer), f"out{layer}", f"out_bias{layer}")
        query, key, value = self._qkv(tokens, layer)
        scores = self.node("MatMul", query, self.node("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.node("Mul", scores, self.const(depth**-0.5))
        if vit.masked:
            scores = self.node("Add", scores, self.weight(f"mask{layer}"))
        brought = self.node("MatMul", self.node("Softmax", scores, axis=-1), value)
        order = [2, 0, 1, 3] if vit.tokens_first else [0, 2, 1, 3]
        brought = self.pair(self.node("Reshape", self.node("Transpose", brought, perm=order), self.ints(0, 0, size)))
        return self._dense(brought, f"out{layer}", f"out_bias{layer}")

    def _hidden(self, tokens: str, layer: int) -> str:
        """The attention as one operator."""
        vit = self._vit
        size, weight, bias = vit.width, vit.weights[f"qkv{layer}"], vit.weights[f"qkv_bias{layer}"]
        mask = self.const(vit.weights[f"mask{layer}"][None]) if vit.masked else ""
        if vit.qkv == "Attention":
            given = [tokens, self.weight(f"qkv{layer}"), self.weight(f"qkv_bias{layer}"), "", "", mask]
            return self.node("Attention", *given, domain="com.microsoft", num_heads=vit.heads)
        parts = [
            self.node("MatMul", tokens, self.const(weight[:, place * size : (place + 1) * size])) for place in range(3)
        ]
        if vit.qkv == "MultiHeadAttention":
            given = [*parts, self.weight(f"qkv_bias{layer}"), "", mask]
            return self.node("MultiHeadAttention", *given, domain="com.microsoft", num_heads=vit.heads)
        parts = [
            self.node("Add", part, self.const(bias[place * size : (place + 1) * size]))
            for place, part in enumerate(parts)
        ]
        return self.node("Attention", *parts, *([mask] if mask else []), q_num_heads=vit.heads, kv_num_heads=vit.heads)

    def _qkv(self, tokens: str, layer: int) -> list[str]:
        """Three tensors (N, heads, T, depth)."""
        vit = self._vit
        depth, size = vit.width // vit.heads, vit.width
        order = [1, 2, 0, 3] if vit.tokens_first else [0, 2, 1, 3]

        def headed(data: str) -> str:
            return self.node("Transpose", self.node("Reshape", data, self.ints(0, 0, vit.heads, depth)), perm=order)

        if vit.qkv == "separate":
            parts = []
            for place in range(3):
                columns = slice(place * size, (place + 1) * size)
                weight = self.const(vit.weights[f"qkv{layer}"][:, columns])
                bias = self.const(vit.weights[f"qkv_bias{layer}"][columns])
                parts.append(headed(self.node("Add", self.node("MatMul", tokens, weight), bias)))
            return parts
        if vit.qkv == "folded":
            flat = self.node("Reshape", tokens, self.ints(-1, size))
            fused = self.node("Gemm", flat, self.weight(f"qkv{layer}"), self.weight(f"qkv_bias{layer}"))
            fused = self.node("Reshape", fused, self.ints(-1, vit.tokens, 3 * size))
        else:
            fused = self._dense(tokens, f"qkv{layer}", f"qkv_bias{layer}")
        if vit.qkv == "slice":
            bounds = [(place * size, (place + 1) * size) for place in range(3)]
            return [
                headed(self.node("Slice", fused, self.ints(low), self.ints(high), self.ints(2))) for low, high in bounds
            ]
        apart = self.node("Reshape", fused, self.ints(0, 0, 3, vit.heads, depth))
        apart = self.node("Transpose", apart, perm=[2, 1, 3, 0, 4] if vit.tokens_first else [2, 0, 3, 1, 4])
        if vit.qkv == "gather":
            return [self.node("Gather", apart, self.const(np.asarray(place), np.int64), axis=0) for place in range(3)]
        first = self.node("Split", apart, outputs=3, axis=0, num_outputs=3)
        names = [f"{first.rsplit('_', 1)[0]}_{place}" for place in range(3)]
        return [self.node("Squeeze", name, self.ints(0)) for name in names]

    def _taken(self, tokens: str) -> str:
        axis = 0 if self._vit.tokens_first else 1
        if self._vit.takes == "gather":
            return self.node("Gather", tokens, self.const(np.asarray(0), np.int64), axis=axis)
        if self._vit.takes == "slice":
            part = self.node("Slice", tokens, self.ints(0), self.ints(1), self.ints(axis))
        else:
            part = self.node("Split", tokens, self.ints(1, self._vit.tokens - 1), outputs=2, axis=axis)
        return self.node("Squeeze", part, self.ints(axis))


def timing_model(width: int, layers: int, heads: int, classes: int) -> onnx.ModelProto:
    """A transformer of 196 patches of 16 pixels, for the clock: its weights are noise."""
    vit = Vit(
        layers=layers, rows=14, columns=14, width=width, heads=heads, gelu="operator", patch=16, classes=classes, up=4
    )
    for name, array in vit.weights.items():
        if array.ndim == 2:
            vit.weights[name] = array * (2 / np.sqrt(array.shape[0])).astype(np.float32)
    return vit.model()
