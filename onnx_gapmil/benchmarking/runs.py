"""One bound run: a session, its input where it computes, its outputs where a caller reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.graph.inputs import InputShape, random_input
from onnx_gapmil.ort.errors import run_error
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.ort.values import dtype_name, to_ort_value

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Providers whose memory is an NVIDIA device's, so that inputs are placed there beforehand.
ON_DEVICE = ("cuda", "tensorrt")


class BoundRun:
    """A run through IO binding, to be called again and again.

    The inputs lie on the provider's device before the clock runs; the outputs end in host memory, where whoever reads
    a grid needs them, so that their way over the bus is part of what is timed.

    Args:
        session: an `onnxruntime.InferenceSession`.
        inputs: concrete shapes; the values are random, always the same.
        outputs: names to ask for.
        used: the provider's short name.
        what: the graph and the batch, for messages.
        keep: leave the outputs on the device instead.
        like: a run of the same graph and batch that has run: inputs and outputs then have addresses that never
            change, as a CUDA graph wants, the outputs' shapes and types being those of that run.
    """

    def __init__(
        self,
        session: Any,
        inputs: Sequence[InputShape],
        outputs: Sequence[str],
        used: str,
        what: str,
        *,
        keep: bool = False,
        like: BoundRun | None = None,
    ) -> None:
        self._session, self._what = session, what
        on_device = used in ON_DEVICE
        self._arrays: list[np.ndarray] = [random_input(entry) for entry in inputs]  # CPU values share their memory
        self._binding = session.io_binding()
        for entry, array in zip(inputs, self._arrays, strict=True):
            device = "cuda" if on_device and entry.dtype.name != "bfloat16" else "cpu"
            self._binding.bind_ortvalue_input(entry.name, to_ort_value(array, device))
        where = "cuda" if keep and on_device else "cpu"
        for index, name in enumerate(outputs):
            if like is None:
                self._binding.bind_output(name, where)
            else:
                self._binding.bind_ortvalue_output(name, _empty_like(like.values()[index], where))

    def __call__(self) -> None:
        """Run once; return when the outputs are there.

        Raises:
            ModelError: the run failed.
        """
        try:
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
        except Exception as error:
            raise run_error(error, self._what) from error

    def values(self) -> list[Any]:
        """The outputs of the last run, as `OrtValue`s in the order in which they were asked for."""
        values: list[Any] = self._binding.get_outputs()
        return values

    def arrays(self) -> list[np.ndarray]:
        """The same as arrays in host memory, wherever they were kept."""
        arrays: list[np.ndarray] = self._binding.copy_outputs_to_cpu()
        return arrays


def _empty_like(value: Any, device: str) -> Any:
    """Memory of a fixed address for another run's output of the same shape and type."""
    kind = np.dtype(dtype_name(value.data_type()))
    return onnxruntime_module().OrtValue.ortvalue_from_shape_and_type(list(value.shape()), kind, device, 0)
