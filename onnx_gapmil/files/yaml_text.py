"""Small YAML files that other programs lay beside a model: bounded, plain values only."""

from __future__ import annotations

import yaml

from onnx_gapmil.errors import InputError
from onnx_gapmil.files.blob import Source
from onnx_gapmil.files.text import read_text

#: Characters of a file, at the most: names of twenty thousand classes fit.
MAX_LENGTH = 1 << 20


def read_yaml(path: Source, error: type[InputError]) -> object:
    """The file's content as lists, dictionaries, texts and numbers; tags that would make objects are refused.

    Raises:
        InputError: of class `error`: it cannot be read, is too long, or is no YAML.
    """
    text = read_text(path, error)
    if len(text) > MAX_LENGTH:
        raise error(f"{path}: {len(text):,} characters are more than are read of YAML ({MAX_LENGTH:,}).")
    try:
        found: object = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        reason = " ".join(str(cause).split())[:120]
        raise error(f"{path}: not YAML that is accepted: {reason}.") from cause
    return found
