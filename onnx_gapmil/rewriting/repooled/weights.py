"""The weights of a pool that images chose, as those of a vendor's weighted pool are shown."""

from __future__ import annotations

import numpy as np

from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.lift.weighted_pools import WeightedPool
from onnx_gapmil.rewriting.repooled.record import RepooledHead


def fitted_weights(head: RepooledHead | None) -> tuple[WeightedPool, ...]:
    """What a repooled head weighs its cells by, where that depends on the cell; empty for any other pool.

    The cells of its grid are the vendor's, so that the weights are not in them.
    """
    pool = head.aggregator if head is not None else None
    if head is None or not isinstance(pool, FittedPool) or "positions" not in pool.arrays:
        return ()
    weights = pool.arrays["positions"].astype(np.float64)
    sets = weights.reshape(-1, *weights.shape[-2:])  # one for all channels, or one for each
    cells = sets[0].size
    sums = sets.sum(axis=(1, 2))
    return (
        WeightedPool(
            pool=f"'{head.output}' ({pool.key})",
            by="position" if weights.ndim == 2 else "position and channel",
            sets=len(sets),
            least=float(sets.min() * cells),
            largest=float(sets.max() * cells),
            below_zero=float((sets < 0).mean()),
            sums=(float(sums.min()), float(sums.max())),
            map=tuple(tuple(row) for row in (sets.mean(axis=0) * cells).tolist()),
            in_cells=False,
        ),
    )
