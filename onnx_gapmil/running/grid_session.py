"""`GridSession`: batches of images in, prediction grids out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import LoadedModel, ModelSource, load_model
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.ort.binding import make_runner, padded
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.ort.errors import run_error
from onnx_gapmil.ort.providers import choose_providers
from onnx_gapmil.ort.session import make_session, nodes_per_provider
from onnx_gapmil.rewriting.emission.emit import Emit
from onnx_gapmil.rewriting.record import HeadRecord, require_emitted
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.running.inputs import ModelInputs
from onnx_gapmil.running.prediction_grid import PredictionGrid

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.proof.remembered import RememberedProof

Batch = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]
"""A batch of the only input, or of each input by its name."""


class GridSession:
    """Run a rewritten model.

    A model that was not rewritten is rewritten in memory first, with the default readout. Of one that was, the record
    is checked first: its head is lifted again and compared with what the file holds, in well under a second; numbers
    are run only where another version wrote it.

    ONNX Runtime runs every node that leads to a graph output, also to one that a run does not ask for (measured with
    1.31, `run` and IO binding alike): not to ask saves the copy and no computing. What is not to be computed must not
    be in the graph, which is what ``emit`` is for.

    Args:
        model: a path, a ModelProto, a model that was read already, or the result of a rewrite.
        provider: see `choose_providers`.
        threads: CPU threads; by default all cores that this process may use.
        optimize: let ONNX Runtime fuse and fold the graph.
        spinning: let idle CPU threads wait busily; turn it off where decoding wants the same cores.
        by_image: on the CPU, give each thread images of its own instead of a share of each operator. No thread waits
            for another before its images are done, which is quicker where batches have images for all threads and
            other work (decoding, writing) wants the cores too; a single image takes longer. Accelerators ignore it.
        emit: what the graph is to give beside the logits, as an `Emit` or its text (``"topk:5,argmax"``). None stands
            for features and grid, or for all that a rewritten file gives.
        allow_tf32: let CUDA round the factors of convolutions and products to 10 bits: quicker, and numbers differ.
        cuda_graph: record all kernels of a run once and replay them, on CUDA. Each shape of batch has its own record.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before and does not give what ``emit`` asks
            for.
        ProviderError: the provider was asked for by name and is not really used; or CUDA graphs were asked for, and not
            every node runs on CUDA.
        ProofError: the model was rewritten before, and what its record says of it does not hold.
        UnsupportedHeadError: the model was not rewritten and has no head that can be lifted.
    """

    def __init__(
        self,
        model: ModelSource | Rewrite,
        provider: str = "auto",
        threads: int | None = None,
        optimize: bool = True,
        *,
        spinning: bool = True,
        by_image: bool = False,
        emit: Emit | str | None = None,
        allow_tf32: bool = False,
        cuda_graph: bool = False,
    ) -> None:
        wish = Emit.of(emit) if emit is not None else None
        choice = choose_providers(provider, allow_tf32=allow_tf32, cuda_graph=cuda_graph)
        made = model if isinstance(model, Rewrite) else _rewritten(load_model(model), wish)
        loaded = replace(made.source, proto=made.model)
        self._name = loaded.name
        source, folder = loaded.session_source()
        self._lanes = (threads or thread_count()) if by_image and choice.used == "cpu" else 1
        self._session = make_session(
            source,
            choice,
            threads=1 if self._lanes > 1 else threads,
            optimize=optimize,
            external_data_folder=folder,
            name=loaded.name,
            spinning=spinning,
        )
        self._choice = choice
        self._metadata = loaded.metadata
        self._heads = made.heads
        self._proof = made.remembered
        self._inputs = ModelInputs(self._session.get_inputs(), [head.places for head in self._heads], self._name)
        self._input = self._inputs.image
        if wish is not None:
            require_emitted(wish, self._heads, self._name)
        self._features = wish is not None and wish.features
        self._fixed_batch = self._find_fixed_batch()
        self._runner = make_runner(self._session, self._input.name, used=choice.used, graphs=cuda_graph)
        self._pool = ThreadPoolExecutor(self._lanes, thread_name_prefix="gapmil-run") if self._lanes > 1 else None

    @property
    def input(self) -> InputSpec:
        """The input that the cells look at. Of a graph that takes one photo, (H, W, 3), with a batch of 1 before it."""
        return self._input

    @property
    def inputs(self) -> ModelInputs:
        """All inputs."""
        return self._inputs

    @property
    def heads(self) -> tuple[HeadRecord, ...]:
        """The heads that were lifted; `run` returns a grid for each, in this order."""
        return self._heads

    @property
    def proof(self) -> RememberedProof | None:
        """What was proved of a model that is rewritten in memory, now or by an earlier run; None of another."""
        return self._proof

    @property
    def stitch(self) -> int:
        """How many times as fine as the model's own the grids are, along each axis."""
        return 1

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that the graph takes; None if it takes any. `run` takes any in both cases."""
        return self._fixed_batch

    @property
    def lanes(self) -> int:
        """Images that are run at the same time, each by a thread of its own; 1 unless ``by_image``."""
        return self._lanes

    @property
    def metadata(self) -> dict[str, str]:
        """The model's own metadata (`metadata_props`), the vendor's and the rewrite's."""
        return dict(self._metadata)

    @property
    def provider(self) -> dict[str, Any]:
        """What was asked for and what runs: `requested`, `used`, `device`, `reason`, `nodes` by provider."""
        return {**self._choice.to_json(), "nodes": nodes_per_provider(self._session)}

    def run(
        self, batch: Batch, *, features: bool = False, outputs: Collection[str] | None = None
    ) -> list[PredictionGrid]:
        """Run a batch. Arrays go in as they are; nothing is preprocessed here.

        Args:
            batch: preprocessed images, with the axes and the type of `input`; any N above 0. Signals, volumes and
                clips alike; for a model of several inputs an array for each by its name. A single item may leave
                the batch's axis out. A graph with a fixed batch size is run as often as needed, its last slice padded.
            features: ask for the feature grids too; without it they are not even copied, unless the session's ``emit``
                names them.
            outputs: names of `PredictionGrid`'s arrays to fetch (``{"grid", "argmax"}``), beside the logits; the
                others are not copied. None fetches all that the graph gives.

        Returns:
            One `PredictionGrid` for each head; None in it for what was not fetched.

        Raises:
            InputError: the batch does not fit the input, or the graph does not give an output that is asked for.
            ModelError: the run failed.
        """
        feeds, count = self._inputs.fitted(batch)
        fetched = [self._fetched(head, features, outputs) for head in self._heads]
        wanted = list(dict.fromkeys(name for names in fetched for name in names.values()))
        slices = self._run_slices(feeds, count, wanted)
        arrays = {
            name: np.concatenate([part[name] for part in slices]) if len(slices) > 1 else slices[0][name]
            for name in wanted
        }
        return [_grid(head, names, arrays) for head, names in zip(self._heads, fetched, strict=True)]

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
                grids = self.run(padded(batch, size) if count else batch, features=features)
                yield [grid.first(count) for grid in grids]

    def _fetched(self, head: HeadRecord, features: bool, outputs: Collection[str] | None) -> dict[str, str]:
        """The tensors of a head that a run fetches, by what they are."""
        named = head.by_name()
        if head.pooled is not None:  # what a repooled model answers by, beside the vendor's
            named["mean"], named["logits"] = named["logits"], named.pop("pooled")
        if outputs is None:
            if not (features or self._features):
                named.pop("features", None)
            return named
        own = [*(["features"] if features else []), *(["placeless"] if head.placeless else [])]
        wanted = {"logits", *outputs, *own, *(["mean"] if head.pooled is not None else [])}
        found = {key: name for key, name in named.items() if key.split(".")[0] in wanted}
        absent = wanted - {key.split(".")[0] for key in found} - ({"features"} if features else set())
        if absent:
            raise InputError(
                f"{self._name} gives {', '.join(sorted({key.split('.')[0] for key in named}))} of {head.output!r}, and "
                f"{', '.join(sorted(absent))} was asked for."
            )
        return found

    def _run_slices(
        self, feeds: Mapping[str, npt.NDArray[Any]], count: int, wanted: list[str]
    ) -> list[dict[str, npt.NDArray[Any]]]:
        """Run a batch in as many slices as the graph's fixed batch and the lanes ask for."""
        size = self._fixed_batch or -(-count // self._lanes)
        shared = {
            name for name, array in feeds.items() if self._inputs.is_shared(name, len(np.atleast_1d(array)), count)
        }
        parts = [
            {name: array if name in shared else array[start : start + size] for name, array in feeds.items()}
            for start in range(0, count, size)
        ]
        counts = [min(size, count - start) for start in range(0, count, size)]
        if self._pool is None or len(parts) == 1:
            return [self._run_slice(*part, shared, wanted) for part in zip(parts, counts, strict=True)]
        running = [
            self._pool.submit(self._run_slice, *part, shared, wanted) for part in zip(parts, counts, strict=True)
        ]
        wait(running)  # all of them, also when one failed: the caller may write to the batch afterwards
        return [part.result() for part in running]

    def _run_slice(
        self, part: Mapping[str, npt.NDArray[Any]], count: int, shared: Collection[str], wanted: list[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Run one slice, padded to as many rows as the graph takes."""
        size = self._fixed_batch or count
        full = {
            name: np.ascontiguousarray(array if name in shared else padded(array, size)) for name, array in part.items()
        }
        image = full[self._input.name]
        what = f"{self._name}: a run on a batch of shape {image.shape}"
        if self._inputs.takes_one:
            image = full[self._input.name] = image[0]
        try:
            arrays = self._runner.run(full if len(full) > 1 else image, wanted)
        except Exception as error:
            raise run_error(error, what) from error
        for name, array in arrays.items():
            if array.ndim == 0 or len(array) != size:
                raise ModelError(
                    f"{what} gave {name!r} of shape {array.shape}: the graph fixes its batch size inside. "
                    "Run one image at a time, or export the model with an open batch."
                )
        return {name: array[:count] for name, array in arrays.items()}

    def _find_fixed_batch(self) -> int | None:
        """The input may leave its batch open where the graph does not; its outputs then tell."""
        first_axes = [self._input.shape[0]]
        own = {name for head in self._heads for name in (head.grid, head.logits) if name is not None}
        first_axes += [_axes(value)[0] for value in self._session.get_outputs() if value.name in own and value.shape]
        return next((axis for axis in first_axes if axis is not None), None)


def _rewritten(loaded: LoadedModel, emit: Emit | None) -> Rewrite:
    """Rewrite a model in memory, if that was not done before; else check its record."""
    # The rules and onnx-graphsurgeon take their time to load.
    from onnx_gapmil.rewriting.in_memory import rewrite_in_memory

    return rewrite_in_memory(loaded, emit=None if loaded.is_rewritten else emit)


def _axes(value: Any) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in value.shape)


def _grid(head: HeadRecord, names: dict[str, str], arrays: dict[str, npt.NDArray[Any]]) -> PredictionGrid:
    """One head's arrays by the names of the dataclass."""
    found = {key: arrays[name] for key, name in names.items()}
    scores = {key: found.pop(f"scores.{key}") for key in head.scores if f"scores.{key}" in found}
    return PredictionGrid(head.output, found.pop("logits"), **found, scores=scores)
