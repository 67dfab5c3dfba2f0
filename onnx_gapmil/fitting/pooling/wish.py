"""What is to be fitted, as a user writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx_gapmil.aggregate.aggregator import Aggregator, parse_aggregator
from onnx_gapmil.errors import InputError
from onnx_gapmil.fitting.pooling.slopes import SLOPED

Kind = Literal["calibrated", "mix", "flex", "flex:channel", "flex:softmax", "head", "sac"]

_MEAN = Aggregator("mean")


@dataclass(frozen=True)
class FitWish:
    """What is to be fitted.

    Attributes:
        kind: ``calibrated``: temperature and class biases of one aggregator; ``mix``: weights over aggregators;
            ``flex``: a weight for each position; ``flex:channel`` and ``flex:softmax``: for each position and channel,
            free or by a softmax; ``head``: the last linear layer; ``sac``: auxiliary classifiers on earlier maps.
        aggregator: the one that is calibrated, or that the layer is trained under; the mean for the others.
        tensors: of ``sac``, the maps; found where there are none.
    """

    kind: Kind
    aggregator: Aggregator = _MEAN
    tensors: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its text, as `parse_fit` reads it."""
        if self.kind == "calibrated":
            return self.aggregator.key
        if self.tensors:
            return f"{self.kind}:{','.join(self.tensors)}"
        return f"{self.kind}:{self.aggregator.key}" if self.kind == "head" else self.kind

    @property
    def needs_features(self) -> bool:
        """Whether it reads the feature grid."""
        return self.kind in ("head", "flex:channel", "flex:softmax")

    @property
    def needs_grid(self) -> bool:
        """Whether it reads the prediction grid, and not only what aggregators make of it."""
        return self.kind == "flex"


def parse_fit(text: str) -> FitWish:
    """Read ``mix``, ``flex``, ``flex:channel``, ``flex:softmax``, ``head``, ``head:AGGREGATOR``, ``sac``,
    ``sac:TENSOR,...`` or an aggregator.

    Raises:
        InputError: it is none of these.
    """
    word = text.strip()
    if word in ("mix", "flex", "flex:channel", "flex:softmax"):
        return FitWish(word)  # type: ignore[arg-type]
    kind, _, under = word.partition(":")
    if kind == "sac":
        tensors = tuple(name for name in (part.strip() for part in under.split(",")) if name)
        if under and not tensors:
            raise InputError(f"'{word}' names no tensor; write sac:TENSOR or sac:TENSOR,TENSOR, or sac alone.")
        return FitWish("sac", tensors=tensors)
    if kind == "head":
        aggregator = parse_aggregator(under or "mean")
        if aggregator.name not in SLOPED:
            raise InputError(f"a head is fitted under {', '.join(SLOPED)}, and not under '{aggregator.key}'.")
        return FitWish("head", aggregator)
    try:
        return FitWish("calibrated", parse_aggregator(word))
    except InputError as error:
        raise InputError(
            f"there is no fit '{word}'; there are mix, flex, flex:channel, flex:softmax, head, head:AGGREGATOR, sac, "
            f"sac:TENSOR,..., or an aggregator that is calibrated alone. {str(error)[:1].upper()}{str(error)[1:]}"
        ) from error
