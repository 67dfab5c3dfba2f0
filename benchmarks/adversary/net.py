"""A graph that is written node by node, and the map that it has come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")
#: Chooses one of several options.
Pick = Callable[[Sequence[Any]], Any]
#: Pixels a side of what one cell of the first map sees.
PATCH = 4
CHANNELS = 6
CLASSES = 5


@dataclass(frozen=True)
class Map:
    """A tensor (N, C, H, W)."""

    name: str
    channels: int
    height: int
    width: int


@dataclass
class Net:
    """What was written so far.

    Attributes:
        rng: of the weights.
        wide: whether a cell of the map sees more than one patch, so that where it looks most is blurred.
        coarse: whether its cells were made farther apart than patches: upsampled, they see more than one again.
        trace: what was done, for people.
    """

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    wide: bool = False
    coarse: bool = False
    trace: list[str] = field(default_factory=list)

    def add(self, op: str, inputs: Sequence[str], **attributes: object) -> str:
        """One node; the name of what it makes."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{len(self.nodes)}", **attributes))
        return name

    def const(self, values: object, dtype: type = np.int64) -> str:
        """A constant."""
        name = f"k{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """Random weights, as large as keeps the size of what they are multiplied by."""
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        return self.const(self.rng.standard_normal(shape) * scale / np.sqrt(fan), np.float32)

    def conv(self, data: Map, channels: int, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> Map:
        """A convolution with random weights."""
        reach = dilation * (kernel - 1) + 1
        height, width = ((side + 2 * pad - reach) // stride + 1 for side in (data.height, data.width))
        weight = [self.normal(channels, data.channels, kernel, kernel), self.normal(channels, scale=0.2)]
        name = self.add(
            "Conv",
            [data.name, *weight],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[dilation] * 2,
        )
        self.wide |= kernel > 1 and data.name != "x"
        return Map(name, channels, height, width)

    def model(self, inputs: Sequence[tuple[str, Sequence[int | str]]], outputs: Sequence[str]) -> onnx.ModelProto:
        """The model; shapes of its outputs are left open."""
        graph = helper.make_graph(
            self.nodes,
            "adversary",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
