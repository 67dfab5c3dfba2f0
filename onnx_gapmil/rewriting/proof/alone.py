"""A head by itself: the nodes from the maps that it pools to its logits, the vendor's, and to its grid, the new ones.

It is fed with made-up maps, so that what saturates is reached, and costs no run of the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_gapmil.errors import ModelError
from onnx_gapmil.graph.inputs import random_input
from onnx_gapmil.graph.light import light_copy
from onnx_gapmil.graph.loading import load_small_external_data
from onnx_gapmil.graph.macs import work_of
from onnx_gapmil.graph.tensors import tensor_bytes
from onnx_gapmil.ort.cpu import cpu_session
from onnx_gapmil.ort.errors import explain
from onnx_gapmil.rewriting.proof.by_class import class_errors
from onnx_gapmil.rewriting.proof.cutting import MAX_HEAD_BYTES, cut_out, independent, pooled_map
from onnx_gapmil.rewriting.proof.tolerances import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx

    from onnx_gapmil.graph.inputs import InputShape
    from onnx_gapmil.graph.trace import Trace
    from onnx_gapmil.rewriting.record import HeadRecord

#: Multiply-adds of a whole model that is run beside the proof, in float64: seconds.
MAX_MACS = 4_000_000_000
#: What a made-up map is multiplied by to reach what saturates.
_LARGE = 30.0


@dataclass(frozen=True)
class HeadAlone:
    """A head, cut out of a rewritten model.

    Attributes:
        proto: the rewritten model, with the whole grid among its tensors.
        folder: where its external data lies.
        head: the head.
        grid: the whole grid's tensor.
        lift: the rewritten model as it is lifted here, which says where each cell comes from; ``proto`` itself, or
            what ``proto`` claims to be.
        features: its maps (N, C, H, W) that the grid is made of, one for each of the head's feature grids.
        width: bytes of the coarsest element type on the way.
        trace: the real shapes of the model's tensors.
        name: the model's name, for messages.
        fed: what is fed, where that was decided; else `sources` does.
    """

    proto: onnx.ModelProto
    folder: Path | None
    head: HeadRecord
    grid: str
    lift: onnx.ModelProto
    features: tuple[str, ...]
    width: int
    trace: Trace
    name: str
    fed: tuple[str, ...] = ()

    @cached_property
    def sources(self) -> list[str]:
        """The vendor's maps that it pools; the model's inputs for a class token.

        A class token is made of all of the trunk, so that nothing less leads to its logits. Of two maps of which a
        layer of the trunk (a convolution, an attention) makes one of the other, each is fed: the head reads no more of
        it. A map and a crop of it cannot both be: where the mean over cells is not the logits then, those that are made
        of others are left out.
        """
        if self.fed:
            return list(self.fed)
        if self.head.class_token is not None:
            return [entry.name for entry in self.trace.inputs]
        pooled = list(dict.fromkeys(found.source for found in self.head.feature_grids))
        apart = independent(self.proto, pooled, self.trace)
        return pooled if len(apart) < len(pooled) and self._holds_of(pooled) else apart

    def _holds_of(self, sources: list[str]) -> bool:
        """Whether the mean over cells is the logits where some maps are fed with numbers of their own each."""
        if self.head.quantized or (self.head.readout == "instance" and self.head.verdict != "exact"):
            return False
        given = replace(self, fed=tuple(sources))
        try:
            errors = class_errors(self.head, *given.run(given.feeds()[0]))
        except ModelError:
            return False
        return bool(np.fmax.reduce(errors, initial=0.0) <= TOLERANCE[self.width])

    @cached_property
    def maps(self) -> tuple[InputShape, ...]:
        """Those maps, as inputs."""
        return tuple(pooled_map(source, self.trace) for source in self.sources)

    @cached_property
    def cut(self) -> onnx.ModelProto:
        """Their way to the logits and to the grid.

        Raises:
            ModelError: the head takes more than those maps, or is too large to be run.
        """
        model = cut_out(self.proto, self.sources, [self.head.logits, self.grid], self.trace, self.name)
        size = sum(tensor_bytes(tensor) for tensor in model.graph.initializer)
        if self.head.class_token is not None and (work := work_of(model.graph.node, self.trace.shapes).macs) > MAX_MACS:
            raise ModelError(
                f"{self.name}: a class token's head is the whole model, of {work / 1e9:.1f} billion multiply-adds."
            )
        if size > MAX_HEAD_BYTES:
            raise ModelError(f"{self.name}: the head of '{self.head.output}' holds {size / 1e9:.1f} GB of weights.")
        load_small_external_data(model, self.folder)
        return model

    @cached_property
    def session(self) -> Any:
        """It in ONNX Runtime, as the file spells it."""
        proto, weights = light_copy(self.cut)
        return cpu_session(proto, self.folder, weights=weights)

    def run(self, feeds: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, K) and grid (N, K, H, W), float64.

        Raises:
            ModelError: ONNX Runtime does not run it.
        """
        try:
            found = self.session.run([self.head.logits, self.grid], dict(feeds))
        except Exception as error:
            raise ModelError(f"{self.name}: the head alone does not run: {explain(error)}") from error
        logits, grid = (np.asarray(array).astype(np.float64) for array in found)
        return logits, grid

    def feeds(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Made-up maps: of either sign, and none below 0 and large enough for what saturates."""
        plain = {entry.name: random_input(entry, seed) for seed, entry in enumerate(self.maps)}
        return plain, {
            name: array if array.dtype.kind in "iub" else (np.abs(array) * _LARGE).astype(array.dtype)
            for name, array in plain.items()
        }


def reason_of(error: Exception) -> str:
    """Why something could not be run, for `Figure.skipped`: the first line of an error of any kind."""
    text = str(error).strip().splitlines()
    said = text[0][:160].rstrip(".") if text else ""
    return said if isinstance(error, (ModelError, OverflowError)) else f"{type(error).__name__}: {said}"
