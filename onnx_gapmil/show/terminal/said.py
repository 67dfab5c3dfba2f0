"""What the notes of several verbs spell alike: verdicts, shapes, names of nodes."""

from __future__ import annotations

from onnx_gapmil.files.printable import visible

#: Longest name of a node in a table; exporters write names of hundreds of letters. JSON has them whole.
NAME_WIDTH = 34

#: Each verdict's color, and what it claims.
VERDICTS = {
    "exact": ("green", "the head is affine, so a cell's value is the head's own answer to that cell"),
    "conditional": (
        "yellow",
        "exact for each image (mean over cells = logits), but a cell's value also depends on the pooled features",
    ),
}


def said_shape(shape: tuple[int | str, ...]) -> str:
    """A shape, as NumPy spells it."""
    return "(" + ", ".join(str(dim) for dim in shape) + ")"


def short(name: str) -> str:
    """A long name with its middle left out."""
    name = visible(name)
    if len(name) <= NAME_WIDTH:
        return name
    half = (NAME_WIDTH - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
