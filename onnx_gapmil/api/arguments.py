"""What a user gives in one of several forms, in the one form that the rooms take."""

from __future__ import annotations

from pathlib import Path

from onnx_gapmil.aggregate.aggregator import Aggregator
from onnx_gapmil.files.urls import given_place


def path_of(value: str | Path | None) -> Path | None:
    """A path; None stays None."""
    return Path(value) if value is not None else None


def place_of(value: str | Path | None) -> str | Path | None:
    """A path, or a URL as it is written; None stays None."""
    return given_place(value) if value is not None else None


def text_of(value: float | str | Path | None) -> str | None:
    """As it would be written on the command line; None stays None."""
    return str(value) if value is not None else None


def key_of(aggregator: Aggregator | str | None) -> str | None:
    """The name of an aggregator; None stays None."""
    return aggregator.key if isinstance(aggregator, Aggregator) else aggregator
