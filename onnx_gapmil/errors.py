"""Everything that can go wrong, grouped by what the caller can do about it.

::

    GapmilError
    ├── InputError            the request cannot be read: mend it and try again   (exit code 2)
    │   ├── ModelError        the .onnx file
    │   │   └── LimitError    it takes more time or memory than a stranger's file is given
    │   ├── ImageError        an image
    │   ├── LabelsError       a file of class names
    │   ├── DataError         a labelled data set: its files, its labels, one of its boxes or masks
    │   ├── PreprocessError   a preprocessing preset or JSON
    │   └── ProviderError     an execution provider that was asked for and is not really there
    ├── UnsupportedHeadError  the head does not decompose; carries the `Refusal`  (exit code 3)
    └── ProofError            a rewritten model failed its proof; nothing is kept (exit code 1)

The last two carry what was found, so they stand beside it: in `onnx_gapmil.lift.verdict` and
`onnx_gapmil.rewriting.proof.report`.

Messages say what was found, where (file, node, output) and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class GapmilError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class InputError(GapmilError):
    """The request names something that cannot be read or does not fit."""

    exit_code = 2


class ModelError(InputError):
    """The model file is missing, damaged, hostile, or cannot be run by ONNX Runtime."""


class LimitError(ModelError):
    """Reading, tracing or proving the model takes more time or memory than the limits allow; says which, and how to
    raise it."""


class ImageError(InputError):
    """An image is missing, damaged or too large."""


class LabelsError(InputError):
    """A file of class names is missing or does not fit the model."""


class DataError(InputError):
    """A labelled data set cannot be read or does not fit the model; or one of its images has a bad box or mask."""


class PreprocessError(InputError):
    """A preprocessing preset is unknown, or its JSON does not fit the schema or the model."""


class ProviderError(InputError):
    """An execution provider was asked for by name and is not really used."""
