"""JSON as this program writes it: strict, with null for numbers that JSON has no word for."""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Any

import numpy as np

from onnx_gapmil.files.urls import said


def json_text(value: Any, *, indent: int | None = None, compact: bool = False) -> str:
    """A value as JSON text, without a line break at its end.

    Args:
        value: JSON types, tuples, NumPy arrays and numbers, paths.
        indent: spaces for each level; None puts all on one line.
        compact: leave out the spaces after commas and colons.
    """
    separators = (",", ":") if compact else None
    try:
        return json.dumps(value, indent=indent, separators=separators, allow_nan=False, default=_plain)
    except ValueError:  # NaN or infinity, which is rare: only then is the value walked
        return json.dumps(finite(value), indent=indent, separators=separators, allow_nan=False)


def finite(value: Any) -> Any:
    """The value in JSON types, with None for each number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _plain(value) if isinstance(value, PurePath) else value


def _plain(value: Any) -> Any:
    """What `json` does not know itself."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, PurePath):
        return said(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
