"""Run a session on one batch: where the input lies, where the outputs go, and what is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.ort.values import to_numpy, to_ort_value

_GRAPH_ID = "gpu_graph_id"
_NO_GRAPH = -1
_MOST_SHAPES = 4


class Runner(Protocol):
    """Runs one batch."""

    def run(
        self, batch: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs named, and copy no others.

        Args:
            batch: C-contiguous, as the session's input takes it; of several inputs an array for each.
            outputs: names of graph outputs.
        """


class HostRunner:
    """Binds arrays in host memory: nothing is copied on the CPU; an accelerator's provider copies for itself.

    Args:
        session: of ONNX Runtime.
        input_name: the input that an array without a name is for.
    """

    def __init__(self, session: Any, input_name: str) -> None:
        self._session = session
        self._input = input_name

    def run(
        self, batch: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs named; see `Runner`."""
        binding = self._session.io_binding()
        feeds = batch if isinstance(batch, Mapping) else {self._input: batch}
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, to_ort_value(array))
        for name in outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        return {name: to_numpy(value) for name, value in zip(outputs, binding.get_outputs(), strict=True)}


@dataclass(frozen=True, eq=False)
class _Bound:
    """Buffers on the device for batches of one shape; their addresses never change."""

    input: Any
    binding: Any
    options: Any
    graph: int
    outputs: list[Any] = field(default_factory=list)


class DeviceRunner:
    """Keeps buffers on the device for input and outputs: each run copies the batch in and the outputs out, once.

    The first run of a shape runs twice: once to see how large the outputs are, then into buffers of that size. Buffers
    of the last few shapes are kept. bfloat16 has no NumPy copy in ONNX Runtime and needs a `HostRunner`.

    Args:
        session: of ONNX Runtime.
        input_name: its only input.
        graphs: record a CUDA graph for each shape and replay it (the provider option ``enable_cuda_graph`` must be
            set); without it each kernel is launched by itself.
        device: ONNX Runtime's name for it.
    """

    def __init__(self, session: Any, input_name: str, *, graphs: bool = False, device: str = "cuda") -> None:
        self._session = session
        self._input = input_name
        self._graphs = graphs
        self._device = device
        self._bound: dict[tuple[object, ...], _Bound] = {}
        self._made = 0

    def run(
        self, batch: npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs named; see `Runner`."""
        if isinstance(batch, Mapping):
            batch = batch[self._input]
        key = (batch.shape, *outputs)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bind(batch, outputs)
            self._forget_oldest()
            self._bound[key] = bound
        else:
            bound.input.update_inplace(batch)
        self._session.run_with_iobinding(bound.binding, bound.options)
        return dict(zip(outputs, bound.binding.copy_outputs_to_cpu(), strict=True))

    def _bind(self, batch: npt.NDArray[Any], outputs: Sequence[str]) -> _Bound:
        values = onnxruntime_module().OrtValue
        source = values.ortvalue_from_shape_and_type(list(batch.shape), batch.dtype.type, self._device, 0)
        source.update_inplace(batch)
        sizing = self._session.io_binding()
        sizing.bind_ortvalue_input(self._input, source)
        for name in outputs:
            sizing.bind_output(name, self._device)
        self._session.run_with_iobinding(sizing, self._options(_NO_GRAPH))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, source)
        targets = [
            values.ortvalue_from_shape_and_type(list(found.shape()), found.element_type(), self._device, 0)
            for found in sizing.get_outputs()
        ]
        for name, target in zip(outputs, targets, strict=True):
            binding.bind_ortvalue_output(name, target)
        self._made += 1
        return _Bound(source, binding, self._options(self._made), self._made, targets)

    def _options(self, graph: int) -> Any:
        """A graph is known by its number; -1 records none."""
        if not self._graphs:
            return None
        options = onnxruntime_module().RunOptions()
        options.add_run_config_entry(_GRAPH_ID, str(graph))
        return options

    def _forget_oldest(self) -> None:
        if len(self._bound) < _MOST_SHAPES:
            return
        oldest = self._bound.pop(next(iter(self._bound)))
        if self._graphs:
            self._session.release_captured_graph(oldest.graph)


def make_runner(session: Any, input_name: str, *, used: str, graphs: bool) -> Runner:
    """The runner that suits a session.

    Args:
        session: of ONNX Runtime.
        input_name: its only input.
        used: the provider, in short.
        graphs: see `DeviceRunner`.
    """
    types = {value.type for value in (*session.get_inputs(), *session.get_outputs())}
    if used in ("cuda", "tensorrt") and "tensor(bfloat16)" not in types and len(session.get_inputs()) == 1:
        return DeviceRunner(session, input_name, graphs=graphs)
    return HostRunner(session, input_name)


def padded(part: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Repeat the last image until there are `size`."""
    if len(part) >= size:
        return part
    return np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
