"""The whole prediction grids of a rewrite, which the proof compares with whether the file emits them or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import onnx

    from onnx_gapmil.lift.heads import LiftedHead
    from onnx_gapmil.lift.lifting import Lifting


@dataclass(frozen=True)
class WholeGrids:
    """The rewritten model with the whole prediction grid of every head among its outputs, its maps among its tensors.

    Attributes:
        names: the grid's graph output, by head's output.
        dtypes: element types of the maps that the head pools and of what it makes of them, by head's output.
        features: the maps (N, C, H, W) in it that each grid is made of, by head's output.
        make: gives the model; the rewritten model itself where it emits all grids.
    """

    names: Mapping[str, str]
    dtypes: Mapping[str, tuple[np.dtype, ...]]
    features: Mapping[str, tuple[str, ...]]
    make: Callable[[], onnx.ModelProto]


def float_types(walk: Lifting, head: LiftedHead) -> tuple[np.dtype, ...]:
    """The float types that a head computes in, from its maps to its logits.

    Mixed precision casts behind the pool and back before the logits: neither of them tells.
    """
    maps = [grid.dtype for grid in head.features]
    made = [walk.trace.dtypes[step.output] for step in head.chain if step.output in walk.trace.dtypes]
    return tuple(dict.fromkeys([*maps, *(dtype for dtype in made if dtype.kind == "f" or dtype.name == "bfloat16")]))
