r"""A few rows of a lifted grid, without computing the others: the selection is pulled back through the head.

A row of the grid is one class. With S the selection, (k, K), one 1 in each row, the wanted grid is ``S G``. Two
recursive functions walk back over the nodes that the lift built:

1. *pick*: as long as operators work element by element, selecting commutes with them: ``S phi(X) = phi(S X)``, operands
   that are constants or kept at their pooled value being selected too.
2. At a dense layer, a 1x1 ``Conv`` with weight W and bias b, ``S (W X + b) = (S W) X + S b``: k rows of W are gathered,
   R = S W, (k, C), and from here on rows are *mixed*.
3. *mix*: ``R (X + t) = R X + R t``, ``R (s X) = (R s) X`` with s on its diagonal, ``R [X; Y] = R_x X + R_y Y``, a
   norm's centring ``R (X - mean X) = (R - mean R) X``, means over channels; and at a further dense layer
   ``R (W X + b) = (R W) X + R b``, down to the feature grid.

Pulling through a further dense layer of C rows and C' columns pays if it saves multiplications, counted for one image
of P cells::

    k C C' + k C' P  <  C C' P + k C P          (composed first, against the layer on the whole map)

which is nearly ``k < P``; where R is the same for all images it is composed once, when the model is loaded. Where an
operator is none of these, the walk stops, and rows are taken from the tensor that is reached.

All of it stays in the vendor's element type: a Cast of a half-precision tensor that the vendor's own nodes read too
would make ONNX Runtime, which computes half precision in float32 on a CPU, round the vendor's outputs elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnx_gapmil.graph.builder import GraphBuilder
    from onnx_gapmil.rewriting.emission.shapes import Tensors

#: Operators that make each element from the elements at the same place.
ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "Cast", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
        "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow",
        "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish",
        "Tanh", "ThresholdedRelu", "Where",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Which rows.

    Attributes:
        indices: tensor int64: (N, k), or (k,) where they are the same for all images.
        count: k.
        fixed: whether they (and, mixed, their coefficients) are constants, the same for all images.
    """

    indices: str
    count: int
    fixed: bool


class RowSelector:
    """Pulls selections back through the nodes of one lifted grid."""

    def __init__(self, build: GraphBuilder, tensors: Tensors, dtype: np.dtype, *, open_size: bool):
        """Prepare.

        Args:
            build: has the grid's nodes, and collects the new ones.
            tensors: what is known of the grid and of all that it is made of.
            dtype: element type of the grid.
            open_size: whether height and width are only known at run time.
        """
        self._build = build
        self._tensors = tensors
        self._shapes = tensors.shapes
        self._dtype = np.dtype(dtype)
        self._open_size = open_size

    def gather(self, tensor: str, rows: Selection) -> str:
        """Rows of axis 1 of a tensor that is computed anyway: (N or 1, C, h, w) to (N, k, h, w), or (1, k, h, w)."""
        build, shape = self._build, self._dims(tensor)
        if rows.fixed:
            # Vectors that broadcast, (K,) or (K, 1, 1), have no axis 1 of classes yet.
            if shape is not None and len(self._shapes[tensor]) < 4:
                tensor = build.reshape(tensor, list(shape))
            return build.node("Gather", [tensor, rows.indices], axis=1)
        if shape is not None and shape[0] == 1 and (self._is_flat(tensor) or not self._open_size):
            # The same for all images, or there is one: the bias of a separate Add (Keras, PaddlePaddle), a file whose
            # batch is fixed at 1. A plain Gather will do.
            return build.node("Gather", [build.reshape(tensor, list(shape[1:])), rows.indices], axis=0)
        if build.graph.opset >= 12:  # the first with batch_dims
            places = build.reshape(rows.indices, [0, rows.count, 1])
            return build.node("GatherND", [tensor, places], batch_dims=1)
        return self._gather_by_product(tensor, rows)

    def pick(self, tensor: str, rows: Selection) -> str:
        """Rows of a tensor (N, K, H, W), as few of its operators on all rows as possible; (N, k, H, W)."""
        build, node = self._build, self._build.maker(tensor)
        own = self._dims(tensor)
        if own is None or node is None:
            # The vendor's own map, where the classes stand before the pool (Conv1x1, then GlobalAveragePool).
            return self.gather(tensor, rows)
        if own[1] == 1:  # one sigmoid: the only row
            return tensor
        if node.op == "Conv" and self._is_dense(node) and self._gather_pays(node, rows):
            return self._pick_dense(node, rows)
        if node.op == "BatchNormalization":  # which PyTorch leaves unfolded behind a dense layer
            return self._pick_normalized(node, rows)
        # Classes that the vendor put in another order, or left some of out.
        if node.op == "Gather" and node.attrs.get("axis") == 1:
            chosen = build.node("Gather", [node.inputs[1].name, rows.indices], axis=0)
            return self.pick(node.inputs[0].name, Selection(chosen, rows.count, rows.fixed))
        # The bias of a separate Add, scales of quantized heads, the Cast of half precision with float32 outside.
        if self._is_elementwise(node, rows):
            below = self._below_cast(node)
            operands = [below._operand(operand.name, rows) if operand.name else "" for operand in node.inputs]
            return build.node(node.op, operands, **node.attrs)
        return self.gather(tensor, rows)

    # --- picking ---------------------------------------------------------------------------------------------------

    def _is_elementwise(self, node: gs.Node, rows: Selection) -> bool:
        names = [operand.name for operand in node.inputs if operand.name]
        if node.op not in ELEMENTWISE or any(self._dims(name) is None for name in names):
            return False
        if node.op == "Cast" and self._tensors.dtypes.get(names[0], np.dtype(np.int64)).kind != "f":
            return False  # bfloat16 included, which few runtimes multiply
        return node.op != "Where" or rows.fixed or self._build.graph.opset >= 12  # a product takes no conditions

    def _below_cast(self, node: gs.Node) -> RowSelector:
        """The selector for the operands of an elementwise operator, whose type a Cast changes."""
        if node.op != "Cast":
            return self
        dtype = self._tensors.dtypes[node.inputs[0].name]
        return RowSelector(self._build, self._tensors, dtype, open_size=self._open_size)

    def _operand(self, tensor: str, rows: Selection) -> str:
        """What an elementwise operator's operand becomes."""
        _, channels, *_ = self._dims(tensor) or (1, 1)
        if channels == 1:
            return tensor
        return self.gather(tensor, rows) if self._is_flat(tensor) else self.pick(tensor, rows)

    def _gather_by_product(self, tensor: str, rows: Selection) -> str:
        """Before operator set 12 no Gather takes other rows of each image: a product with rows of 0 and one 1."""
        build, count = self._build, rows.count
        _, channels, height, width = self._shapes[tensor]
        numbers = build.constant(np.arange(channels, dtype=np.int64).reshape(1, 1, -1))
        hit = build.node("Equal", [build.reshape(rows.indices, [0, count, 1]), numbers])
        matrix = build.node("Cast", [hit], to=int(onnx.helper.np_dtype_to_tensor_dtype(self._dtype)))
        product = build.node("MatMul", [matrix, build.reshape(tensor, [0, channels, -1])])
        flat = (height, width) == (1, 1)
        return build.reshape(product, [0, count, 1, 1]) if flat else self._as_grid(product, tensor, count)

    def _gather_pays(self, node: gs.Node, rows: Selection) -> bool:
        """Whether k rows gathered for each image cost less than all rows on the map."""
        classes, channels = self._shapes[node.inputs[1].name][:2]
        cells = self._cells(node.inputs[0].name)
        gathered = 0 if rows.fixed else rows.count * channels
        return gathered + rows.count * channels * cells < classes * channels * cells

    def _pick_dense(self, node: gs.Node, rows: Selection) -> str:
        """``S (W X + b) = (S W) X + S b``."""
        build = self._build
        names = [operand.name for operand in node.inputs]
        chosen = build.node("Gather", [self._matrix(names[1]), rows.indices], axis=0)
        if rows.fixed:
            chosen = build.reshape(chosen, [1, rows.count, -1])
        grid = self._mix(names[0], chosen, rows)
        if len(names) < 3 or not names[2]:
            return grid
        return build.node("Add", [grid, self._rows_of_vector(names[2], rows)])

    def _pick_normalized(self, node: gs.Node, rows: Selection) -> str:
        """``(S X - S mean) * S (scale / sqrt(var + eps)) + S bias``."""
        build = self._build
        factor, mean, bias = self._normalization(node)
        moved = build.node("Sub", [self.pick(node.inputs[0].name, rows), self._rows_of_vector(mean, rows)])
        scaled = build.node("Mul", [moved, self._rows_of_vector(factor, rows)])
        return build.node("Add", [scaled, self._rows_of_vector(bias, rows)])

    def _rows_of_vector(self, vector: str, rows: Selection) -> str:
        """k elements of a vector (K,) for every image, (N or 1, k, 1, 1)."""
        chosen = self._build.node("Gather", [vector, rows.indices], axis=0)
        return self._build.reshape(chosen, [-1, rows.count, 1, 1])

    # --- mixing ----------------------------------------------------------------------------------------------------

    def _mix(self, tensor: str, matrix: str, rows: Selection) -> str:
        """``R X`` for a tensor X (N, C, H, W) and R (N or 1, k, C), in the vendor's own type."""
        node = self._build.maker(tensor)
        if node is not None and self._dims(tensor) is not None:
            found = self._mix_node(node, matrix, rows)
            if found is not None:
                return found
        return self._apply(tensor, matrix, rows)

    def _mix_node(self, node: gs.Node, matrix: str, rows: Selection) -> str | None:
        """R times what a node makes, by one of the module's equations; None if there is none."""
        names = [operand.name for operand in node.inputs]
        if any(self._dims(name) is None for name in names if name) and node.op != "Conv":
            return None
        if node.op == "Identity":
            return self._mix(names[0], matrix, rows)
        if node.op == "Neg":
            return self._mix(names[0], self._build.node("Neg", [matrix]), rows)
        if node.op == "Sub" and self._is_mean_over_channels(names[1], names[0]):
            centred = self._build.node("Sub", [matrix, self._build.reduce("ReduceMean", matrix, [2])])
            return self._mix(names[0], centred, rows)
        if node.op in ("Add", "Sub"):
            return self._build.node(node.op, [self._mix_operand(name, matrix, node, rows) for name in names])
        if node.op in ("Mul", "Div"):
            return self._mix_scaled(node, matrix, rows)
        if node.op == "BatchNormalization":
            return self._mix_normalized(node, matrix, rows)
        # Mean and deviation side by side (std pooling), or two trunks.
        if node.op == "Concat" and node.attrs.get("axis") == 1:
            return self._mix_joined(names, matrix, rows)
        if node.op == "Conv" and self._is_dense(node) and self._composing_pays(node, rows):
            return self._mix_dense(node, matrix, rows)
        return None

    def _is_mean_over_channels(self, tensor: str, of: str) -> bool:
        """Whether a tensor is the mean over another's channels, cell by cell."""
        node = self._build.maker(tensor)
        if node is None or node.op != "ReduceMean" or str(node.inputs[0].name) != of:
            return False
        given = self._build.value(str(node.inputs[1].name)) if len(node.inputs) > 1 else node.attrs.get("axes")
        return (
            given is not None and [int(axis) for axis in np.ravel(given)] == [1] and bool(node.attrs.get("keepdims", 1))
        )

    def _mix_operand(self, tensor: str, matrix: str, node: gs.Node, rows: Selection) -> str:
        """R times an operand of a sum, which may be a map, one number for each channel, or the same for all of them."""
        build = self._build
        shape = self._dims(tensor) or (1, 1, 1, 1)
        if shape[1] == 1 and self._shapes[node.outputs[0].name][1] != 1:
            total = build.reshape(build.reduce("ReduceSum", matrix, [2]), [-1, rows.count, 1, 1])
            return build.node("Mul", [total, tensor])
        if not self._is_flat(tensor):
            return self._mix(tensor, matrix, rows)
        column = build.reshape(tensor, [-1, shape[1], 1])
        return build.reshape(build.node("MatMul", [matrix, column]), [-1, rows.count, 1, 1])

    def _mix_scaled(self, node: gs.Node, matrix: str, rows: Selection) -> str | None:
        """``R (s X) = (R s) X``."""
        build = self._build
        left, right = (operand.name for operand in node.inputs)
        if node.op == "Mul" and self._is_flat(left):
            left, right = right, left
        out = self._shapes[node.outputs[0].name]
        if not self._is_flat(right) or self._is_flat(left) or self._shapes[left][1] != out[1]:
            return None
        shape = self._dims(right) or (1, 1, 1, 1)
        row = build.reshape(right, [-1, 1, shape[1]])
        scaled = replace(rows, fixed=rows.fixed and self._is_fixed(right))
        return self._mix(left, build.node(node.op, [matrix, row]), scaled)

    def _mix_normalized(self, node: gs.Node, matrix: str, rows: Selection) -> str:
        build = self._build
        factor, mean, bias = self._normalization(node)
        scaled = build.node("Mul", [matrix, build.reshape(factor, [1, 1, -1])])
        columns = [build.reshape(name, [1, -1, 1]) for name in (bias, mean)]
        offset = build.node(
            "Sub", [build.node("MatMul", [matrix, columns[0]]), build.node("MatMul", [scaled, columns[1]])]
        )
        mixed = self._mix(node.inputs[0].name, scaled, rows)
        return build.node("Add", [mixed, build.reshape(offset, [-1, rows.count, 1, 1])])

    def _mix_joined(self, names: list[str], matrix: str, rows: Selection) -> str:
        """``R [X; Y] = R_x X + R_y Y``."""
        build, start, parts = self._build, 0, []
        for name in names:
            end = start + self._shapes[name][1]
            parts.append(self._mix(name, build.slice_last(matrix, start, end), rows))
            start = end
        whole = parts[0]
        for part in parts[1:]:
            whole = build.node("Add", [whole, part])
        return whole

    def _composing_pays(self, node: gs.Node, rows: Selection) -> bool:
        """The inequality at the top of the module."""
        out, inner = self._shapes[node.inputs[1].name][:2]
        cells, count = self._cells(node.inputs[0].name), rows.count
        composed = 0 if rows.fixed else count * out * inner
        return composed + count * inner * cells < out * inner * cells + count * out * cells

    def _mix_dense(self, node: gs.Node, matrix: str, rows: Selection) -> str:
        """``R (W X + b) = (R W) X + R b``."""
        build = self._build
        names = [operand.name for operand in node.inputs]
        product = build.node("MatMul", [matrix, self._matrix(names[1])])
        grid = self._mix(names[0], product, rows)
        if len(names) < 3 or not names[2]:
            return grid
        column = build.reshape(names[2], [-1, 1])
        offset = build.reshape(build.node("MatMul", [matrix, column]), [-1, rows.count, 1, 1])
        return build.node("Add", [grid, offset])

    def _apply(self, tensor: str, matrix: str, rows: Selection) -> str:
        """``R X``, a product of matrices for each image."""
        build, channels = self._build, self._shapes[tensor][1]
        product = build.node("MatMul", [matrix, build.reshape(tensor, [0, channels, -1])])
        return self._as_grid(product, tensor, rows.count)

    # --- small parts -----------------------------------------------------------------------------------------------

    def _as_grid(self, product: str, like: str, count: int) -> str:
        """(N, k, P) as (N, k, H, W), the size of another map."""
        build = self._build
        if not self._open_size:  # else height and width are only known when the image is: read from the map's shape
            return build.reshape(product, [0, count, *self._shapes[like][2:4]])
        shape = build.node("Shape", [like])
        size = build.node("Gather", [shape, build.ints([2, 3])], axis=0)
        target = build.node("Concat", [build.ints([0, count]), size], axis=0)
        return build.node("Reshape", [product, target])

    def _normalization(self, node: gs.Node) -> tuple[str, str, str]:
        """Factor ``scale / sqrt(var + eps)``, mean and bias of a BatchNormalization, vectors of its channels."""
        build = self._build
        scale, bias, mean, variance = (operand.name for operand in node.inputs[1:5])
        epsilon = np.asarray(node.attrs.get("epsilon", 1e-5), self._dtype)
        deviation = build.node("Sqrt", [build.node("Add", [variance, build.constant(epsilon)])])
        return build.node("Div", [scale, deviation]), mean, bias

    def _is_dense(self, node: gs.Node) -> bool:
        """Whether a Conv is a dense layer on each cell: a grouped one (PyTorch has such heads) is several."""
        weight = self._shapes.get(node.inputs[1].name)
        known = self._shapes.get(node.inputs[0].name)
        return (
            weight is not None
            and known is not None
            and len(weight) == len(known) == 4
            and weight[2:] == (1, 1)
            and int(node.attrs.get("group", 1)) == 1
        )

    def _matrix(self, weight: str) -> str:
        """The weight (K, C, 1, 1) of a convolution as (K, C).

        Where the lift reshaped a Gemm's matrix to a kernel, that matrix itself: two Reshapes in a row are none.
        """
        node = self._build.maker(weight)
        rows = self._shapes[weight][:2]
        if node is not None and node.op == "Reshape" and self._shapes.get(node.inputs[0].name) == rows:
            return str(node.inputs[0].name)
        return self._build.reshape(weight, list(rows))

    def _dims(self, tensor: str) -> tuple[int, int, int, int] | None:
        """Shape as (N, C, H, W), with leading axes of 1 that broadcasting adds; None if it is not known."""
        shape = self._shapes.get(tensor)
        if shape is None or len(shape) > 4:
            return None
        batch, channels, height, width = (1,) * (4 - len(shape)) + shape
        return batch, channels, height, width

    def _is_flat(self, tensor: str) -> bool:
        """Whether it says the same for every cell."""
        shape = self._dims(tensor)
        return shape is not None and shape[2:] == (1, 1)

    def _is_fixed(self, tensor: str) -> bool:
        """Whether it is a constant, or made of constants."""
        node = self._build.maker(tensor)
        if node is None:
            return self._build.value(tensor) is not None or tensor in self._build.graph.constants
        return all(self._is_fixed(operand.name) for operand in node.inputs if operand.name)

    def _cells(self, tensor: str) -> int:
        return int(np.prod(self._shapes[tensor][2:]))
