"""Numbers as a reader wants them: one way for the terminal, the pictures and the pages.

A share is ``77.5 %`` with a space before the sign, a count has its plural and commas (``1 image``, ``1,300 images``), a
difference of shares is in points. Pages put a space that does not break where the terminal has a plain one
(`onnx_gapmil.show.html.formatting`).
"""

from __future__ import annotations

#: What stands where nothing was measured.
NOTHING = "–"
#: Plurals that are not the singular with an s.
_PLURALS = {"class": "classes", "box": "boxes", "match": "matches", "batch": "batches", "axis": "axes"}


def count(value: float, one: str, many: str | None = None) -> str:
    """``1 image``, ``1,300 images``, ``0 classes``.

    Args:
        value: how many.
        one: the word for one; its last word is the one that takes the plural.
        many: the word for several, where it is not found by rule.
    """
    if value == 1:
        return f"{value:,} {one}"
    return f"{value:,} {many or plural(one)}"


def plural(one: str) -> str:
    """``image`` as ``images``, ``usable thread`` as ``usable threads``."""
    before, space, last = one.rpartition(" ")
    return f"{before}{space}{_PLURALS.get(last, last + 's')}"


def are(value: float, one: str, many: str | None = None) -> str:
    """``1 image is``, ``2 images are``."""
    return f"{count(value, one, many)} {'is' if value == 1 else 'are'}"


def were(value: float, one: str) -> str:
    """``1 image was``, ``2 images were``."""
    return f"{count(value, one)} {'was' if value == 1 else 'were'}"


def of_are(part: float, whole: float, one: str) -> str:
    """``1 of 200 images is``, ``3 of 200 images are``."""
    return f"{part:,} of {count(whole, one)} {'is' if part == 1 else 'are'}"


def of_were(part: float, whole: float, one: str) -> str:
    """``1 of 200 images was``, ``3 of 200 images were``."""
    return f"{part:,} of {count(whole, one)} {'was' if part == 1 else 'were'}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.775 as ``77.5 %``, 1 as ``100 %``: a share in a sentence; a dash if there is no value.

    Args:
        share: from 0 to 1.
        digits: behind the point, but for ``.0``.
    """
    return NOTHING if share is None else f"{f'{100 * share:.{digits}f}'.removesuffix('.0')} %"


def percent_range(bounds: tuple[float, float]) -> str:
    """(0.731, 0.812) as ``73.1 % to 81.2 %``."""
    return f"{percent(bounds[0])} to {percent(bounds[1])}"


def column_percent(share: float | None) -> str:
    """As `percent`, always with one decimal: the figures of a column stand under one another."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def column_range(bounds: tuple[float, float]) -> str:
    """As `percent_range`, in a column."""
    return f"{column_percent(bounds[0])} to {column_percent(bounds[1])}"


def points(difference: float) -> str:
    """A difference of two shares: -0.23 as ``-23.0``, without its unit."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"  # no -0.0


def points_range(bounds: tuple[float, float]) -> str:
    """(-0.309, -0.146) as ``-30.9 to -14.6``."""
    return f"{points(bounds[0])} to {points(bounds[1])}"
