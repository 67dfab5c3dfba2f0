"""Numbers and names as a reader wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from onnx_gapmil.files import wording

#: What people call an aggregator; the keys are those of `onnx_gapmil.aggregate`.
AGGREGATOR_NAMES = {
    "mean": "mean",
    "max": "maximum",
    "lse": "log-sum-exp",
    "topk": "mean of the top cells",
    "softmax_weighted": "softmax-weighted",
    "noisy_or": "noisy-or",
    "median": "median",
    "generalized_mean": "generalized mean",
    "prob_mean": "mean of cell probabilities",
}


def percent(share: float | None, digits: int = 1) -> str:
    """0.775 as ``77.5 %``; a dash if there is no value. The space does not break."""
    return wording.percent(share, digits).replace(" ", "\u00a0")


def table_percent(share: float | None) -> str:
    """As `percent`, always with one decimal, so that the digits of a column stand under one another."""
    return wording.column_percent(share).replace(" ", "\u00a0")


def interval(bounds: tuple[float, float]) -> str:
    """(0.731, 0.812) as ``73 to 81``."""
    return f"{100 * bounds[0]:.0f} to {100 * bounds[1]:.0f}"


def count(value: float, one: str, many: str | None = None) -> str:
    """``1 image``, ``1,300 images``."""
    return wording.count(value, one, many)


def of_images(share: float, images: int) -> int:
    """How many images a share of them is."""
    return round(share * images)


def class_name(names: Mapping[int, str], index: int) -> str:
    """A class by its name, or by its number where it has none."""
    return names.get(index) or f"class {index}"


def short_names(names: Mapping[int, str]) -> dict[int, str]:
    """Of synonyms (``tench, Tinca tinca``) the first, where no other class of these has it too."""
    first = {index: name.split(", ")[0].strip() for index, name in names.items()}
    occurs = Counter(first.values())
    return {
        index: first[index] if first[index] and occurs[first[index]] == 1 else name for index, name in names.items()
    }


def aggregator_name(key: str) -> str:
    """``lse=10`` as ``log-sum-exp (10)``."""
    name, _, parameter = key.partition("=")
    return AGGREGATOR_NAMES.get(name, name.replace("_", " ")) + (f" ({parameter})" if parameter else "")
