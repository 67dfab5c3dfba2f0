"""From the records of all images to the figures of an audit.

A figure is a mean over images (or objects) of what `measure_image` wrote down, so the summary needs the records
alone: an audit that was stopped and resumed has the same one, to the last bit. Images for which a value could not be
measured are left out of its mean, and the number of those that were counted stands beside it. A figure that nothing
counted for is None.

Intervals are 95 % percentile bootstraps over images (`intervals`), keyed by the place of their figure in the summary,
as in ``foreground.wrong.any_top1``.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onnx_gapmil.metrics.accuracy import accuracy, macro_accuracy
from onnx_gapmil.metrics.calibration import calibration
from onnx_gapmil.metrics.causes import CAUSES
from onnx_gapmil.metrics.intervals import bootstrap_macro, bootstrap_mean
from onnx_gapmil.metrics.localization import BoxHits, box_accuracy, successes
from onnx_gapmil.metrics.pxap import PixelScores, pixel_average_precision

Record = Mapping[str, Any]
MOST_CONFUSED = 5


class Figures:
    """Means, with the interval of each remembered by its name."""

    def __init__(self) -> None:
        self.intervals: dict[str, list[float]] = {}

    def mean(self, name: str, values: Sequence[float | bool | None]) -> float | None:
        """The mean of the values that are not None; None if there are none."""
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        if known.size == 0:
            return None
        self.intervals[name] = list(bootstrap_mean(known, seed=seed_of(name)))
        return float(known.mean())


def seed_of(name: str) -> int:
    """A seed for each figure, so that its interval does not depend on which others were computed before."""
    return zlib.crc32(name.encode())


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Summarise what `measure_image` returned for each image, in the order of the data set.

    Args:
        records: as they are or after a round trip through JSON; at least one.

    Returns:
        Plain JSON types. ``top1``, ``top5``, ``macro``, ``foreground``, ``recoverable``, ``error_causes``,
        ``background_reliance``, ``background``, ``edges``, ``pointing_game``, ``pointing_game_centre``,
        ``maxboxacc_v2``, ``localization``, ``pxap``, ``calibration``, ``several_objects``, ``intervals`` go into
        ``summary.json``; ``classes`` has a row for each class that labels an image, see `class_rows`.

    Raises:
        ValueError: there are no records.
    """
    figures = Figures()
    return {
        **_accuracy(records, figures),
        "foreground": _foreground(records, figures),
        **_errors(records, figures),
        **_background(records, figures),
        "edges": _edges(records, figures),
        **_pointing(records, figures),
        **_localization(records, figures),
        "calibration": _calibration(records),
        "several_objects": _several(records),
        "classes": class_rows(records),
        "intervals": figures.intervals,
    }


def _accuracy(records: Sequence[Record], figures: Figures) -> dict[str, Any]:
    ranks = [record["ranks"] for record in records]
    labels = [record["labels"] for record in records]
    macro = {}
    for k in (1, 5):
        figures.mean(f"top{k}", [min(each) < k for each in ranks])
        macro[f"top{k}"] = macro_accuracy(labels, ranks, k)
        right = [place < k for each in ranks for place in each]
        classes = [label for each in labels for label in each]
        figures.intervals[f"macro.top{k}"] = list(bootstrap_macro(classes, right, seed=seed_of(f"macro.top{k}")))
    return {"top1": accuracy(ranks, 1), "top5": accuracy(ranks, 5), "macro": macro}


def _foreground(records: Sequence[Record], figures: Figures) -> dict[str, Any] | None:
    """Means over images. An image without a background cell has none with the true class on top: it counts as 0."""
    result = {}
    for name, right in (("right", True), ("wrong", False)):
        found = [record["foreground"] for record in records if record["foreground"] and record["right"] is right]
        part: dict[str, Any] = {"images": len(found)}
        for key in ("any_top1", "any_top5", "most_top1", "most_top5", "cell_share"):
            part[key] = figures.mean(f"foreground.{name}.{key}", [each[key] for each in found])
        background = [each["background_share"] for each in found]
        part["background_share"] = figures.mean(
            f"foreground.{name}.background_share", [share or 0.0 for share in background]
        )
        part["with_background"] = sum(share is not None for share in background)
        result[name] = part
    return result if any(part["images"] for part in result.values()) else None


def _errors(records: Sequence[Record], figures: Figures) -> dict[str, Any]:
    wrong = [record for record in records if record["cause"] is not None]
    if not any(record["foreground"] for record in records):
        return {"recoverable": None, "error_causes": None}
    recoverable = [record["recoverable"] for record in wrong]
    counts = Counter(record["cause"] for record in wrong)
    for cause in CAUSES:
        figures.mean(f"error_causes.{cause}", [record["cause"] == cause for record in wrong])
    return {
        "recoverable": {
            "images": sum(recoverable),
            "of": len(wrong),
            "share": figures.mean("recoverable.share", recoverable),
            "margin": {
                key: _plain_mean([record["margin"][key] for record in wrong]) for key in ("foreground", "background")
            },
        },
        "error_causes": {cause: counts[cause] for cause in CAUSES},
    }


def _background(records: Sequence[Record], figures: Figures) -> dict[str, Any]:
    known = [record for record in records if record["background"]]
    if not known:
        return {"background_reliance": None, "background": None}

    def shares(key: str, chosen: Callable[[Record], bool] = lambda record: True) -> list[float | None]:
        return [record["background"][key] for record in known if chosen(record)]

    def wrong(record: Record) -> bool:
        return not record["right"]

    share = figures.mean("background_reliance", shares("share"))
    right_shares = [value for value in shares("share", lambda record: record["right"]) if value is not None]
    return {
        "background_reliance": share,
        "background": {
            "images": sum(value is not None for value in shares("share")),
            "share": share,
            "right": figures.mean("background.right", right_shares),
            "wrong": figures.mean("background.wrong", shares("share", wrong)),
            "centred_box": figures.mean("background.centred_box", shares("centred")),
            "random_box": figures.mean("background.random_box", shares("random")),
            "right_mostly_background": sum(value > 0.5 for value in right_shares),
            "only_background_errors": sum(bool(value) for value in shares("only_background", wrong)),
        },
    }


def _edges(records: Sequence[Record], figures: Figures) -> dict[str, Any] | None:
    known = [record["edges"] for record in records if record["edges"]]
    if not known:
        return None
    keys = ("ring_cells", "evidence", "winners", "energy", "best_cell", "padding")
    return {"images": len(known), **{key: figures.mean(f"edges.{key}", [each[key] for each in known]) for key in keys}}


def _pointing(records: Sequence[Record], figures: Figures) -> dict[str, Any]:
    """Over games, as the source does; an image with objects of several kinds has several."""
    known = [record["pointing"] for record in records if record["pointing"]]

    def played(key: str) -> list[bool]:
        return [place < each[key] for each in known for place in range(each["games"])]

    return {
        "pointing_game": figures.mean("pointing_game", played("hits")),
        "pointing_game_centre": figures.mean("pointing_game_centre", played("centre")),
    }


def _localization(records: Sequence[Record], figures: Figures) -> dict[str, Any]:
    hits = [
        BoxHits(tuple(each["grid"]), tuple(each["centre"]))
        for record in records
        for each in record["localization"] or ()
    ]
    pixels = [
        PixelScores(tuple(record["pxap"]["object"]), tuple(record["pxap"]["other"]))
        for record in records
        if record["pxap"]
    ]
    found = box_accuracy(hits) if hits else None
    return {
        "maxboxacc_v2": figures.mean("maxboxacc_v2", successes(hits).tolist()) if hits else None,
        "localization": {"objects": len(hits), **found} if found is not None else None,
        "pxap": pixel_average_precision(pixels),
    }


def _calibration(records: Sequence[Record]) -> dict[str, Any]:
    confidences = [record["confidence"] for record in records]
    right = [record["right"] for record in records]
    return {
        **calibration(confidences, right).to_json(),
        "confidence": float(np.mean(confidences)),
        "brier": _plain_mean([record["brier"] for record in records]),
        "nll": _plain_mean([record["nll"] for record in records]),
    }


def _several(records: Sequence[Record]) -> dict[str, Any] | None:
    known = [record["several"] for record in records if record["several"]]
    if not known:
        return None
    keys = ("objects", "grid", "top1", "top5", "top_m")
    return {"images": len(known), **{key: sum(each[key] for each in known) for key in keys}}


def class_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row for each class that labels an image, by index.

    Returns:
        ``index``; ``images``; ``top1`` and ``top5``, the shares of them in which the class itself is that high, other
        labels aside; ``any_top1`` and ``cell_share``, of those with a known foreground; ``most_confused``, the classes
        predicted in their errors with their counts, the most frequent first, five at most.
    """
    groups: dict[int, list[tuple[Record, int]]] = {}
    for record in records:
        for label, rank in zip(record["labels"], record["ranks"], strict=True):
            groups.setdefault(label, []).append((record, rank))
    rows = []
    for index in sorted(groups):
        own = groups[index]
        seen = [record["foreground"] for record, _ in own if record["foreground"]]
        errors = Counter(record["prediction"] for record, _ in own if not record["right"])
        confused = sorted(errors.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSED]
        rows.append(
            {
                "index": index,
                "images": len(own),
                "top1": _plain_mean([rank < 1 for _, rank in own]),
                "top5": _plain_mean([rank < 5 for _, rank in own]),
                "any_top1": _plain_mean([each["any_top1"] for each in seen]),
                "cell_share": _plain_mean([each["cell_share"] for each in seen]),
                "most_confused": [[predicted, count] for predicted, count in confused],
            }
        )
    return rows


def _plain_mean(values: Sequence[float | bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
