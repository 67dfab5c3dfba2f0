"""`InputSpec`: what a model's graph says about its image input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import onnx

from onnx_gapmil.errors import PreprocessError

Layout = Literal["NCHW", "NHWC"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
DTYPES = ("float32", "float16", "bfloat16", "float64", "uint8", "int8", "uint16", "int16", "int32")

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The image input of a model, as its graph declares it.

    Attributes:
        name: of the graph input.
        shape: four axes, None where one is dynamic.
        dtype: numpy name of the element type, such as "float32", "float16" or "uint8".
        declared: the layout that the graph states by its axes' denotations; None where it does not.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    declared: Layout | None = None

    def layout(self) -> Layout:
        """Where the channels are.

        The channel axis is the one among axes 1 and 3 that has 1, 3 or 4 elements. If both have, it is the
        one whose other two axes are both larger; if that does not decide either, NCHW is assumed and
        `layout_is_ambiguous()`.

        Raises:
            PreprocessError: the input is no image: not four axes, no channel axis of a known size, 4
                channels, or an element type that is no number.
        """
        return self._layout_and_doubt()[0]

    def layout_is_ambiguous(self) -> bool:
        """Whether `layout()` had to assume NCHW."""
        return self._layout_and_doubt()[1]

    def channels(self) -> int:
        """1 or 3.

        Raises:
            PreprocessError: as `layout()`.
        """
        channels = self.shape[1 if self.layout() == "NCHW" else 3]
        if channels not in (1, 3):
            raise PreprocessError(f"{self._found()}: {channels} channels; images have 1 (grey) or 3 here.")
        return channels

    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels, None where dynamic.

        Raises:
            PreprocessError: as `layout()`.
        """
        first = 2 if self.layout() == "NCHW" else 1
        return self.shape[first], self.shape[first + 1]

    def _layout_and_doubt(self) -> tuple[Layout, bool]:
        if self.dtype not in DTYPES:
            raise PreprocessError(f"{self._found()}: an image input has one of the types {', '.join(DTYPES)}.")
        if len(self.shape) != 4:
            raise PreprocessError(f"{self._found()}: an image input has 4 axes, NCHW or NHWC.")
        if self.declared is not None and self.shape[1 if self.declared == "NCHW" else 3] in _CHANNELS:
            return self.declared, False
        first, second = self.shape[1] in _CHANNELS, self.shape[3] in _CHANNELS
        if first != second:
            return ("NCHW" if first else "NHWC"), False
        if not first:
            raise PreprocessError(f"{self._found()}: neither axis 1 nor axis 3 has 1 or 3 channels.")
        if self._others_larger(1, (2, 3)):
            return "NCHW", False
        if self._others_larger(3, (1, 2)):
            return "NHWC", False
        return "NCHW", True

    def _others_larger(self, channel_axis: int, others: tuple[int, int]) -> bool:
        channels = self.shape[channel_axis] or 0
        sizes = [self.shape[axis] for axis in others]
        return all(size is None or size > channels for size in sizes)

    def _found(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"Input {self.name!r} is {self.dtype} of shape ({axes})"


def image_spec(proto: onnx.ModelProto, *, alone: bool = False) -> InputSpec | None:
    """The only input of a model as its graph declares it; None of several.

    Whether it is an image is told by `InputSpec.channels`.

    Args:
        proto: the model.
        alone: whether it is one image, to which the graph itself adds the batch (`InputShape.alone`): it then has a
            batch of 1 before its own axes.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}  # which IR 3 lists among the inputs
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) != 1 or not inputs[0].type.tensor_type.elem_type:
        return None
    kind = inputs[0].type.tensor_type
    shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
    if kind.elem_type == onnx.TensorProto.STRING:
        return None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return InputSpec(inputs[0].name, (1, *shape) if alone else shape, str(dtype))
