"""A pool whose numbers labelled images chose, and its logits in float64 NumPy.

With cells x_kp of K classes at P positions, features A_cp of C channels, and aggregators S_m:

- of aggregators (``mix``, or one aggregator calibrated): ``z_k = sum_m w_m S_m(x)_k + b_k``;
- by position (``flex``; FlexPooling, arXiv 2606.14926, with one weight for all channels):
  ``z_k = s sum_p v_p x_kp + b_k``;
- by position and channel (FlexPooling as it is written): ``z_k = s (sum_c W_kc sum_p v_cp A_cp + o_k) + b_k``;
- of a retrained linear layer (``head``): ``z_k = s S(W A + o)_k + b_k``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_gapmil.aggregate.aggregator import LINEAR, OF_PROBABILITIES, Aggregator
from onnx_gapmil.aggregate.pooled import pooled_logits
from onnx_gapmil.errors import InputError

Array = npt.NDArray[np.float64]

#: The arrays of a fitted pool, by name, and how many axes each has.
_AXES = {"scale": (1,), "bias": (1,), "positions": (2, 3), "weight": (2,), "offset": (1,)}


@dataclass(frozen=True, eq=False)
class FittedPool:
    """What gives a head's logits after a fit.

    Attributes:
        fit: what was fitted: ``calibrated``, ``mix``, ``flex``, ``flex:channel``, ``flex:softmax`` or ``head``.
        aggregators: S_m, in the order of ``scale``; none where positions are weighed.
        arrays: float32: ``scale`` (M,), which is w or s; ``bias`` (K,), b; and where the fit has them ``positions``,
            v (H, W), or (C, H, W) of channels; ``weight``, W (K, C), and ``offset``, o (K,).

    Raises:
        InputError: the arrays are not those of such a fit, or do not fit each other.
    """

    fit: str
    aggregators: tuple[Aggregator, ...]
    arrays: Mapping[str, npt.NDArray[Any]]

    def __post_init__(self) -> None:
        held = {name: np.asarray(array, dtype=np.float32) for name, array in self.arrays.items()}
        object.__setattr__(self, "arrays", held)
        wrong = _fault(held, len(self.aggregators))
        if wrong:
            raise InputError(f"the fitted pool '{self.fit}' is damaged: {wrong}.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FittedPool) and (self.fit, self.aggregators, self.digest) == (
            other.fit,
            other.aggregators,
            other.digest,
        )

    def __hash__(self) -> int:
        return hash((self.fit, self.aggregators, self.digest))

    @property
    def digest(self) -> str:
        """SHA-256 of its arrays."""
        found = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            found.update(f"{name} {array.shape} ".encode() + array.astype("<f4").tobytes())
        return found.hexdigest()

    @property
    def name(self) -> str:
        """What it is called beside the aggregators."""
        return "fitted"

    @property
    def key(self) -> str:
        """Its text for people: ``fitted mix``, ``fitted topk=0.05``, ``fitted head under max``."""
        only = self.aggregators[0].key if len(self.aggregators) == 1 else ""
        if self.fit == "calibrated":
            return f"fitted {only}"
        return f"fitted {self.fit} under {only}" if only else f"fitted {self.fit}"

    @property
    def classes(self) -> int:
        """K."""
        return len(self.arrays["bias"])

    @property
    def of_features(self) -> bool:
        """Whether it reads the feature grid (N, C, H, W), and not the prediction grid."""
        return "weight" in self.arrays

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the grid that it is for; None if it takes any."""
        found = self.arrays.get("positions")
        return (int(found.shape[-2]), int(found.shape[-1])) if found is not None else None

    @property
    def of_probabilities(self) -> bool:
        """Whether an aggregator takes the cells' probabilities."""
        return any(entry.name in OF_PROBABILITIES for entry in self.aggregators)

    def logits(self, grid: npt.NDArray[np.floating], *, alone: bool) -> Array:
        """The image's logits.

        Args:
            grid: (N, K, H, W), the prediction grid; (N, C, H, W), the feature grid, of a pool of features.
            alone: each class is read by itself, by its sigmoid; else by the softmax over all.

        Returns:
            (N, K) float64.
        """
        held = {name: array.astype(np.float64) for name, array in self.arrays.items()}
        cells = np.asarray(grid, dtype=np.float64).reshape(*grid.shape[:2], -1)
        if "positions" in held:
            weights = held["positions"].reshape(*held["positions"].shape[:-2], -1)
            pooled = (cells * weights).sum(axis=-1)
            scores = [pooled @ held["weight"].T + held["offset"] if self.of_features else pooled]
        else:
            if self.of_features:
                cells = held["weight"] @ cells + held["offset"][:, None]
            scores = [pooled_logits(entry, cells, alone=alone) for entry in self.aggregators]
        found = sum(scale * score for scale, score in zip(held["scale"], scores, strict=True)) + held["bias"]
        return np.asarray(found, dtype=np.float64)

    def reach(self, grid: npt.NDArray[np.floating]) -> float:
        """The largest sum of sizes of what a logit is added up from, by which rounding is measured.

        The size of an aggregator's term is that of the largest cell of its class, of one of exponentials the unit of
        their exponent too; of one of probabilities that of the largest cell of all classes.
        """
        sizes = np.abs(np.asarray(grid, dtype=np.float64)).reshape(*grid.shape[:2], -1)
        held = {name: np.abs(array.astype(np.float64)) for name, array in self.arrays.items()}
        if "positions" in held:
            weights = held["positions"].reshape(*held["positions"].shape[:-2], -1)
            sizes = (sizes * weights).sum(axis=-1, keepdims=True)
        if self.of_features:
            sizes = held["weight"] @ sizes + held["offset"][:, None]
        own, all_classes = sizes.max(axis=-1), sizes.max(axis=(1, 2))[:, None]
        terms = [own] if not self.aggregators else [_size(entry, own, all_classes) for entry in self.aggregators]
        total = sum(scale * term for scale, term in zip(held["scale"], terms, strict=True)) + held["bias"]
        return float(np.max(total))

    def to_json(self) -> dict[str, Any]:
        """The pool as reports write it: its small arrays in full, the large ones by their shape."""
        held = {
            name: array.tolist() if array.size <= _SHOWN else {"shape": list(array.shape)}
            for name, array in self.arrays.items()
        }
        return {"fit": self.fit, "aggregators": [entry.key for entry in self.aggregators], **held}


def _size(aggregator: Aggregator, own: Array, all_classes: Array) -> Array:
    if aggregator.name in OF_PROBABILITIES:
        return 2 * all_classes + 1.0
    return own if aggregator.name in LINEAR else own + 1.0 / (aggregator.parameter or 1.0)


#: Numbers of an array that a report has in full.
_SHOWN = 4096


def pool_logits(pool: Aggregator | FittedPool, grid: npt.NDArray[np.floating], *, alone: bool) -> Array:
    """Image-level logits of a grid by an aggregator or a fitted pool; (N, K) float64."""
    return pool.logits(grid, alone=alone) if isinstance(pool, FittedPool) else pooled_logits(pool, grid, alone=alone)


def takes_probabilities(pool: Aggregator | FittedPool) -> bool:
    """Whether it takes the cells' probabilities, which a softmax and a sigmoid make differently."""
    return pool.of_probabilities if isinstance(pool, FittedPool) else pool.name in OF_PROBABILITIES


def _fault(arrays: Mapping[str, npt.NDArray[Any]], aggregators: int) -> str:
    """Why arrays are those of no fit; "" where they are."""
    unknown = [name for name, array in arrays.items() if array.ndim not in _AXES.get(name, ())]
    missing = {"scale", "bias"} - arrays.keys()
    if unknown or missing:
        return f"its array '{(unknown or sorted(missing))[0]}' is missing, unknown or has other axes"
    if not all(array.size and np.isfinite(array).all() for array in arrays.values()):
        return "it holds what is no number, or nothing"
    terms = 1 if "positions" in arrays else aggregators
    classes = len(arrays["bias"])
    weight, offset, positions = (arrays.get(name) for name in ("weight", "offset", "positions"))
    if len(arrays["scale"]) != terms or ("positions" in arrays and aggregators):
        return f"{len(arrays['scale'])} scales are of {terms} terms"
    if (weight is None) != (offset is None) or (
        weight is not None and (len(weight), len(arrays["offset"])) != (classes,) * 2
    ):
        return "its linear layer is not of its classes"
    if positions is not None and positions.ndim == 3 and (weight is None or positions.shape[0] != weight.shape[1]):
        return "its weights by channel are not of its channels"
    return ""
