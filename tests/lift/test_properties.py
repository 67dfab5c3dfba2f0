"""Random heads, composed of the rules' operators: what must hold for all of them.

In float64, so that rounding cannot hide a wrong number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import cell_by_cell, run, text_model, to_nchw


@dataclass
class Drawn:
    """A head while it is being drawn: its text, its weights, and the pooled tensor's shape but for the batch."""

    opset: int
    layout: str
    size: tuple[int, int]
    channels: int
    batch: str
    seed: int
    lines: list[str] = field(default_factory=list)
    init: dict[str, np.ndarray] = field(default_factory=dict)
    tensor: str = "x"
    width: int = 0
    conditional: bool = False

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.width = self.channels

    def add(self, text: str) -> str:
        """Append a node; ``{t}`` is the tensor before it."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text.format(t=self.tensor)}")
        self.tensor = name
        return name

    def number(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant(self.random.standard_normal(shape) * scale)

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.init)}"
        self.init[name] = np.asarray(value)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def reduce(self, op: str, axes: tuple[int, ...], keep: int) -> None:
        if self.opset >= (13 if op == "ReduceSum" else 18):
            self.add(f"{op}<keepdims={keep}>({{t}}, {self.ints(*axes)})")
        else:
            self.add(f"{op}<axes={list(axes)}, keepdims={keep}>({{t}})")

    @property
    def x_shape(self) -> list[int]:
        height, width = self.size
        return {
            "NCHW": [self.channels, height, width],
            "NHWC": [height, width, self.channels],
            "NTC": [height * width, self.channels],
            "NCT": [self.channels, height * width],
        }[self.layout]

    def model(self) -> onnx.ModelProto:
        dims = ",".join([self.batch, *map(str, self.x_shape)])
        return text_model(
            "\n".join([*self.lines, f"y = Add({self.tensor}, {self.tensor})"]),
            x=f"double[{dims}] x",
            y=f"double[{self.batch},{self.width}] y",
            opset=self.opset,
            init=self.init,
        )


def pool(draw: st.DrawFn, head: Drawn) -> None:
    """A pool in one of its spellings; afterwards the pooled tensor is (N, C)."""
    axes = {"NCHW": (2, 3), "NHWC": (1, 2), "NTC": (1,), "NCT": (2,)}[head.layout]
    rank = len(head.x_shape) + 1
    spelling = draw(st.sampled_from(["mean", "mean_keep", "negative", "sum", "two_steps"]))
    if spelling == "negative":
        axes = tuple(axis - rank for axis in axes)
    if spelling == "two_steps" and len(axes) == 2:
        head.reduce("ReduceMean", axes[1:], 1)
        head.reduce("ReduceMean", axes[:1], 1)
    else:
        head.reduce("ReduceSum" if spelling == "sum" else "ReduceMean", axes, int(spelling == "mean_keep"))
    if spelling == "sum":
        head.add(f"Div({{t}}, {head.constant(np.float64(np.prod(head.size)))})")
    if spelling in ("mean_keep", "two_steps"):
        head.add(
            "Flatten({t})" if head.layout in ("NCHW", "NCT") else f"Reshape({{t}}, {head.ints(-1, head.channels)})"
        )


def gemm(draw: st.DrawFn, head: Drawn) -> None:
    rows = draw(st.integers(1, 7))
    transposed = draw(st.booleans())
    shape = (rows, head.width) if transposed else (head.width, rows)
    weight = head.number(*shape)
    bias = draw(st.sampled_from(["", "vector", "row", "scalar"]))
    operand = {
        "": "",
        "vector": lambda: ", " + head.number(rows),
        "row": lambda: ", " + head.number(1, rows),
        "scalar": lambda: ", " + head.number(),
    }[bias]
    text = operand() if callable(operand) else operand
    if not text and head.opset < 11:
        text = ", " + head.number(rows)
    alpha, beta = draw(st.sampled_from([1.0, 0.5])), draw(st.sampled_from([1.0, -2.0]))
    head.add(f"Gemm<transB={int(transposed)}, alpha={alpha}, beta={beta}>({{t}}, {weight}{text})")
    head.width = rows


def matmul(draw: st.DrawFn, head: Drawn) -> None:
    rows = draw(st.integers(1, 7))
    if draw(st.booleans()):
        head.add(f"MatMul({{t}}, {head.number(head.width, rows)})")
    else:
        head.add("Transpose<perm=[1, 0]>({t})")
        head.add(f"MatMul({head.number(rows, head.width)}, {{t}})")
        head.add("Transpose<perm=[1, 0]>({t})")
    head.width = rows


def vector(draw: st.DrawFn, head: Drawn) -> None:
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    shape = draw(st.sampled_from([(), (head.width,), (1, head.width)]))
    value = head.random.uniform(0.5, 2, shape)
    operands = [head.constant(value), "{t}"]
    swapped = op != "Div" and draw(st.booleans())
    head.add(f"{op}({', '.join(operands if swapped else operands[::-1])})")


def reshapes(draw: st.DrawFn, head: Drawn) -> None:
    """A way there and back through another shape."""
    kind = draw(st.sampled_from(["four_axes", "merged", "turned", "shuffle"]))
    if kind == "four_axes":
        head.add(f"Reshape({{t}}, {head.ints(-1, head.width, 1, 1)})")
        head.add("Flatten({t})")
    elif kind == "merged" and head.batch != "N":
        head.add(f"Reshape({{t}}, {head.ints(-1)})")
        order = np.concatenate([head.random.permutation(head.width) + n * head.width for n in range(int(head.batch))])
        if head.batch != "1":
            order = np.arange(head.width * int(head.batch))
        head.add(f"Gather<axis=0>({{t}}, {head.constant(order.astype(np.int64))})")
        head.add(f"Reshape({{t}}, {head.ints(int(head.batch), head.width)})")
    elif kind == "shuffle" and head.width % 2 == 0:
        head.add(f"Reshape({{t}}, {head.ints(0, 2, -1)})")
        head.add("Transpose<perm=[0, 2, 1]>({t})")
        head.add("Flatten({t})")
    else:
        head.add("Transpose<perm=[1, 0]>({t})")
        head.add("Transpose<perm=[1, 0]>({t})")


def chosen(draw: st.DrawFn, head: Drawn) -> None:
    places = draw(st.lists(st.integers(0, head.width - 1), min_size=1, max_size=8))
    head.add(f"Gather<axis=1>({{t}}, {head.ints(*places)})")
    head.width = len(places)


def branches(draw: st.DrawFn, head: Drawn) -> None:
    """Two dense layers of one tensor, joined."""
    start, rows = head.tensor, draw(st.integers(1, 5))
    first = head.add(f"MatMul({start}, {head.number(head.width, rows)})")
    second = head.add(f"MatMul({start}, {head.number(head.width, rows)})")
    join = draw(st.sampled_from(["Add", "Sub", "Concat<axis=1>", "Concat<axis=-1>"]))
    head.add(f"{join}({first}, {second})")
    head.width = 2 * rows if join.startswith("Concat") else rows


def activation(draw: st.DrawFn, head: Drawn) -> None:
    op = draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "Abs", "Exp", "LeakyRelu"]))
    if op in ("LeakyRelu",):  # ONNX Runtime has no float64 kernel: spelled out
        negative = head.add("Neg({t})")
        head.add(f"Relu({negative})")
        head.add("Neg({t})")
    elif op == "Exp":
        head.add("Tanh({t})")
        head.add("Exp({t})")
    else:
        head.add(f"{op}({{t}})")
    head.conditional = True


def gate(draw: st.DrawFn, head: Drawn) -> None:
    start = head.tensor
    head.add(draw(st.sampled_from(["Sigmoid({t})", "Tanh({t})"])))
    head.add(f"Mul({start}, {{t}})" if draw(st.booleans()) else f"Mul({{t}}, {start})")
    head.conditional = True


def norm(draw: st.DrawFn, head: Drawn) -> None:
    if head.width == 1:
        return
    if head.opset >= 17 and draw(st.booleans()):
        head.add(f"LayerNormalization({{t}}, {head.number(head.width)}, {head.number(head.width)})")
    else:
        start = head.tensor
        head.add("Mul({t}, {t})")
        head.reduce("ReduceSum", (1,), 1)
        head.add(f"Add({{t}}, {head.constant(np.float64(0.1))})")
        root = head.add("Sqrt({t})")
        head.add(f"Div({start}, {root})")
    head.conditional = True


AFFINE = [gemm, matmul, vector, reshapes, chosen, branches]
CONDITIONAL = [activation, gate, norm]


@st.composite
def heads(draw: st.DrawFn, *, conditional: bool) -> Drawn:
    head = Drawn(
        opset=draw(st.sampled_from([11, 13, 17, 18, 21])),
        layout=draw(st.sampled_from(["NCHW", "NHWC", "NTC", "NCT"])),
        size=draw(st.tuples(st.integers(2, 4), st.integers(2, 4))),
        channels=draw(st.integers(2, 8)),
        batch=draw(st.sampled_from(["N", "1", "2"])),
        seed=draw(st.integers(0, 2**16)),
    )
    pool(draw, head)
    steps = draw(st.lists(st.sampled_from(AFFINE + (CONDITIONAL if conditional else [])), min_size=1, max_size=5))
    if conditional:
        steps.insert(draw(st.integers(0, len(steps))), draw(st.sampled_from(CONDITIONAL)))
    for step in steps:
        step(draw, head)
    return head


def lifted(head: Drawn) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray, np.ndarray]:
    """The model, its input, logits and grid; checks what holds for every head on the way."""
    model = head.model()
    before = model.SerializeToString()
    batch = 3 if head.batch == "N" else int(head.batch)
    x = np.random.default_rng(head.seed + 1).standard_normal([batch, *head.x_shape])
    rewritten = rewrite_model(model)
    assert model.SerializeToString() == before, "the vendor's proto was changed"
    vendor_part_is_unchanged(model, rewritten.model)
    (y,) = run(model, x)
    same, logits, features, grid = run(rewritten.model, x)
    np.testing.assert_array_equal(same, y)
    np.testing.assert_array_equal(logits, y)
    size = head.size if head.layout in ("NCHW", "NHWC") else (1, head.size[0] * head.size[1])
    np.testing.assert_array_equal(features, to_nchw(x, head.layout, size))
    assert grid.shape == (batch, head.width, *size)
    assert rewritten.verdict == ("conditional" if head.conditional else "exact")
    return model, x, logits, grid


def vendor_part_is_unchanged(model: onnx.ModelProto, rewritten: onnx.ModelProto) -> None:
    graph, new = model.graph, rewritten.graph
    for name in ("node", "initializer", "output", "input", "value_info"):
        mine = list(getattr(graph, name))
        assert list(getattr(new, name))[: len(mine)] == mine, name


@settings(max_examples=120)
@given(heads(conditional=False))
def test_exact_head_gives_each_cell_the_heads_own_answer(head: Drawn) -> None:
    model, x, logits, grid = lifted(head)
    scale = max(np.abs(logits).max(), np.abs(grid).max(), 1e-6)
    assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 1e-9 * scale
    alone = cell_by_cell(model, x, layout=head.layout)
    assert np.abs(grid.reshape(alone.shape) - alone).max() <= 1e-9 * scale


@settings(max_examples=120)
@given(heads(conditional=True))
def test_conditional_head_keeps_the_mean(head: Drawn) -> None:
    _, _, logits, grid = lifted(head)
    if not head.conditional:
        return
    scale = max(np.abs(logits).max(), np.abs(grid).max(), 1e-6)
    assert np.isfinite(grid).all()
    assert np.abs(grid.mean(axis=(2, 3)) - logits).max() <= 1e-9 * scale


@settings(max_examples=40)
@given(heads(conditional=True))
def test_instance_readout_is_the_head_on_each_cell(head: Drawn) -> None:
    model = head.model()
    batch = 3 if head.batch == "N" else int(head.batch)
    x = np.random.default_rng(head.seed + 1).standard_normal([batch, *head.x_shape])
    *_, grid = run(rewrite_model(model, readout="instance").model, x)
    alone = cell_by_cell(model, x, layout=head.layout)
    # A norm of nearly equal channels divides by nearly nothing: the head itself is that sensitive to rounding.
    scale = max(np.abs(alone).max(), 1e-6)
    assert np.abs(grid.reshape(alone.shape) - alone).max() <= 1e-7 * scale


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NTC", "NCT"])
def test_the_generator_itself_makes_models_that_run(layout: str) -> None:
    head = Drawn(17, layout, (2, 3), 4, "N", 0)
    head.reduce("ReduceMean", {"NCHW": (2, 3), "NHWC": (1, 2), "NTC": (1,), "NCT": (2,)}[layout], 0)
    _, x, logits, _ = lifted(head)
    channel = {"NCHW": 1, "NHWC": 3, "NTC": 2, "NCT": 1}[layout]
    np.testing.assert_allclose(logits / 2, np.moveaxis(x, channel, 1).reshape(3, 4, -1).mean(axis=2))
