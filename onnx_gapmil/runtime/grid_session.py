"""`GridSession`: batches of images in, prediction grids out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import LoadedModel, has_external_data, load_model, load_small_external_data
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.runtime.heads import HEADS_KEY, Head, read_heads
from onnx_gapmil.runtime.ort_errors import run_error
from onnx_gapmil.runtime.ort_values import dtype_name, to_numpy, to_ort_value
from onnx_gapmil.runtime.prediction_grid import PredictionGrid
from onnx_gapmil.runtime.providers import choose_providers
from onnx_gapmil.runtime.session import make_session, nodes_per_provider

if TYPE_CHECKING:
    from onnx_gapmil.rewriting import Rewrite


class GridSession:
    """Run a rewritten model.

    A model that was not rewritten is rewritten in memory first, with the default readout.

    Args:
        model: a path, a ModelProto, or the result of a rewrite.
        provider: see `choose_providers`.
        threads: CPU threads; by default all cores that this process may use.
        optimize: let ONNX Runtime fuse and fold the graph.
        spinning: let idle CPU threads wait busily; turn it off where decoding wants the same cores.

    Raises:
        ModelError: the model cannot be read or run, has several inputs, or its input has not four axes.
        ProviderError: the provider was asked for by name and is not really used.
        UnsupportedHeadError: the model was not rewritten and has no head that can be lifted.
    """

    def __init__(
        self,
        model: str | Path | onnx.ModelProto | Rewrite,
        provider: str = "auto",
        threads: int | None = None,
        optimize: bool = True,
        *,
        spinning: bool = True,
    ) -> None:
        choice = choose_providers(provider)
        loaded = _rewritten(model)
        self._name = loaded.name
        source, folder = _session_source(loaded)
        self._session = make_session(
            source,
            choice,
            threads=threads,
            optimize=optimize,
            external_data_folder=folder,
            name=loaded.name,
            spinning=spinning,
        )
        self._choice = choice
        self._input = _only_image_input(self._session, self._name)
        self._heads = _heads(self._session, self._name)
        self._fixed_batch = self._find_fixed_batch()

    @property
    def input(self) -> InputSpec:
        """The image input."""
        return self._input

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads that were lifted; `run` returns a grid for each, in this order."""
        return self._heads

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that the graph takes; None if it takes any. `run` takes any in both cases."""
        return self._fixed_batch

    @property
    def metadata(self) -> dict[str, str]:
        """The model's own metadata (`metadata_props`), the vendor's and the rewrite's."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def provider(self) -> dict[str, Any]:
        """What was asked for and what runs: `requested`, `used`, `device`, `reason`, `nodes` by provider."""
        return {**self._choice.to_json(), "nodes": nodes_per_provider(self._session)}

    def run(self, batch: npt.NDArray[Any], *, features: bool = False) -> list[PredictionGrid]:
        """Run a batch.

        Args:
            batch: preprocessed images, with the axes and the type of `input`; any N above 0. A graph with a
                fixed batch size is run as often as needed, its last slice padded.
            features: ask for the feature grids too; without it they are not even copied.

        Returns:
            One `PredictionGrid` for each head.

        Raises:
            InputError: the batch does not fit the input.
            ModelError: the run failed.
        """
        self._require_fitting(batch)
        wanted = self._wanted(features)
        size = self._fixed_batch or len(batch)
        slices = [self._run_slice(batch[start : start + size], size, wanted) for start in range(0, len(batch), size)]
        arrays = {
            name: np.concatenate([part[name] for part in slices]) if len(slices) > 1 else slices[0][name]
            for name in wanted
        }
        return [
            PredictionGrid(
                output=head.output,
                logits=arrays[head.logits],
                grid=arrays[head.grid],
                features=arrays[head.features] if features and head.features is not None else None,
            )
            for head in self._heads
        ]

    def iter_batches(
        self, batches: Iterable[npt.NDArray[Any]], *, features: bool = False
    ) -> Iterator[list[PredictionGrid]]:
        """Run a stream of batches; the next one is fetched (decoded) in another thread while one runs.

        Args:
            batches: as for `run`. Batches smaller than the first are padded to its size, and the padding is
                cut off again, because each new shape costs CUDA a search for its algorithms.
            features: as for `run`.

        Yields:
            For each batch what `run` returns.
        """
        source = iter(batches)
        size = 0
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gapmil-fetch") as fetcher:
            ahead = fetcher.submit(next, source, None)
            while (batch := ahead.result()) is not None:
                ahead = fetcher.submit(next, source, None)
                size = size or len(batch)
                count = len(batch)
                grids = self.run(_padded(batch, size) if count else batch, features=features)
                yield [_cut(grid, count) for grid in grids]

    def _wanted(self, features: bool) -> list[str]:
        names = (
            name
            for head in self._heads
            for name in (head.logits, head.grid, head.features if features else None)
            if name is not None
        )
        return list(dict.fromkeys(names))

    def _run_slice(self, part: npt.NDArray[Any], size: int, wanted: list[str]) -> dict[str, npt.NDArray[Any]]:
        """Run one slice, padded to `size` rows, through IO binding: each array crosses to a device once."""
        device = "cuda" if self._choice.used == "cuda" and part.dtype.name != "bfloat16" else "cpu"
        padded = np.ascontiguousarray(_padded(part, size))
        what = f"{self._name}: a run on a batch of shape {padded.shape}"
        try:
            binding = self._session.io_binding()
            binding.bind_ortvalue_input(self._input.name, to_ort_value(padded, device))
            for name in wanted:
                binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(binding)
            arrays = {name: to_numpy(value) for name, value in zip(wanted, binding.get_outputs(), strict=True)}
        except Exception as error:
            raise run_error(error, what) from error
        for name, array in arrays.items():
            if array.ndim == 0 or len(array) != size:
                raise ModelError(
                    f"{what} gave {name!r} of shape {array.shape}: the graph fixes its batch size inside. "
                    "Run one image at a time, or export the model with an open batch."
                )
        return {name: array[: len(part)] for name, array in arrays.items()}

    def _require_fitting(self, batch: npt.NDArray[Any]) -> None:
        spec = self._input
        axes = zip(batch.shape[1:], spec.shape[1:], strict=False)
        fits = batch.ndim == len(spec.shape) and all(open_ is None or axis == open_ for axis, open_ in axes)
        if not fits or batch.dtype.name != spec.dtype:
            expected = ", ".join("any" if axis is None else str(axis) for axis in (None, *spec.shape[1:]))
            raise InputError(
                f"A batch of shape {batch.shape} and type {batch.dtype.name} does not fit the input "
                f"{spec.name!r} of {self._name}, which takes ({expected}) of type {spec.dtype}."
            )
        if len(batch) == 0:
            raise InputError("The batch is empty: it has no image.")

    def _find_fixed_batch(self) -> int | None:
        """The input may leave its batch open where the graph does not; its outputs then tell."""
        first_axes = [self._input.shape[0]]
        grids = {head.grid for head in self._heads}
        first_axes += [_axes(value)[0] for value in self._session.get_outputs() if value.name in grids and value.shape]
        return next((axis for axis in first_axes if axis is not None), None)


def _rewritten(model: str | Path | onnx.ModelProto | Rewrite) -> LoadedModel:
    """Read the model, and rewrite it in memory if that was not done before."""
    if not isinstance(model, str | Path | onnx.ModelProto):
        return replace(model.source, proto=model.model)
    loaded = load_model(model)
    if any(entry.key == HEADS_KEY for entry in loaded.proto.metadata_props):
        return loaded
    rewrite = _rewrite(loaded)
    return replace(rewrite.source, proto=rewrite.model)


def _rewrite(loaded: LoadedModel) -> Rewrite:
    from onnx_gapmil.rewriting import rewrite_model

    return rewrite_model(loaded.path if loaded.path is not None else loaded.proto)


def _session_source(loaded: LoadedModel) -> tuple[bytes, Path | None]:
    """Serialize the checked graph; large external data stays in its files, which ONNX Runtime maps."""
    proto, folder = loaded.proto, None
    if has_external_data(proto):
        folder = loaded.folder
        if folder is None:
            raise ModelError(f"{loaded.name} keeps weights in other files; give its path instead of a ModelProto.")
        proto = onnx.ModelProto()
        proto.CopyFrom(loaded.proto)
        load_small_external_data(proto, folder)
        folder = folder.resolve()
    return proto.SerializeToString(), folder


def _only_image_input(session: Any, what: str) -> InputSpec:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise ModelError(f"{what} has {len(inputs)} inputs ({names}); a model with one image input is needed.")
    (value,) = inputs
    if len(value.shape) != 4:
        raise ModelError(
            f"{what}: its input {value.name!r} has shape {tuple(value.shape)}; an image input has four axes, "
            "NCHW or NHWC."
        )
    return InputSpec(value.name, _axes(value), dtype_name(value.type))


def _axes(value: Any) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in value.shape)


def _heads(session: Any, what: str) -> tuple[Head, ...]:
    outputs = [value.name for value in session.get_outputs()]
    heads = read_heads(session.get_modelmeta().custom_metadata_map, outputs, what)
    if heads is None:
        raise ModelError(f"{what} carries no record of lifted heads ({HEADS_KEY}).")
    return heads


def _padded(part: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Repeat the last image until there are `size`."""
    if len(part) >= size:
        return part
    return np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])


def _cut(grid: PredictionGrid, count: int) -> PredictionGrid:
    features = grid.features[:count] if grid.features is not None else None
    return PredictionGrid(grid.output, grid.logits[:count], grid.grid[:count], features)
