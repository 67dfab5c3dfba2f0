"""Which files beside a model are its own: what is looked for there, and what is never written over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PREPROCESS_NAMES = ("preprocess.json", "config.json", "preprocessor_config.json")
"""Files beside a model that may state its preprocessing, after those with the model's own name."""

LABELS_NAMES = ("labels.txt", "labels.json")
"""Files beside a model that may hold its class names, after those with the model's own name."""

#: What else stands beside models: other programs' configuration, and notes on the model.
_OTHERS = (
    "classes.txt",
    "class_names.txt",
    "synset.txt",
    "imagenet_classes.txt",
    "metadata.json",
    "metadata.yaml",
    "model_index.json",
    "quantize_config.json",
)
#: What follows the model's own name, with or without its ``.onnx``.
_ENDINGS = (
    *(
        f".{part}{ending}"
        for part in ("", "labels.", "preprocess.", "names.", "classes.", "config.", "card.", "metadata.")
        for ending in ("json", "txt", "yaml", "yml", "csv", "names", "md")
    ),
    *(".data", "_data", ".bin", ".weights"),
)


#: What the files that are made of a model are called by, behind its own name.
_MADE = (".gapmil", ".repooled")

YAML_NAMES = ("inference.yml", "inference.yaml")
"""PaddleX' description of a model that it exports: operators on images, and class names."""

CONFIG_NAME = "config.json"
"""A library's configuration of a model, which may name its classes."""


def model_folders(model: Path) -> tuple[Path, ...]:
    """Where files that belong to a model are looked for: its folder, and of `onnx/model.onnx` the one above.

    Hugging Face's repositories for the browser keep the files so.
    """
    folder = model.parent
    return (folder, folder.parent) if folder.name == "onnx" else (folder,)


def model_stems(model: Path) -> tuple[str, ...]:
    """Stems of the files that belong to a model: `x` for `x.onnx`, `x.gapmil` and `x` for `x.gapmil.onnx`."""
    stems = [model.stem]
    while (end := Path(stems[-1]).suffix) in _MADE and end != stems[-1]:
        stems.append(stems[-1].removesuffix(end))
    return tuple(stems)


def left_behind(model: Path, written: Path) -> tuple[Path, ...]:
    """The files beside a model that state its preprocessing or names, and of whose kind what it became finds none."""
    known = _stating(written)
    return tuple(path for kind, path in _stating(model).items() if kind not in known)


def _stating(model: Path) -> dict[str, Path]:
    """The first file of each kind, by its name without the model's."""
    found: dict[str, Path] = {}
    for folder in model_folders(model):
        for name, kind in _names_and_kinds(model):
            if (folder / name).is_file():
                found.setdefault(kind, folder / name)
    return found


def _names_and_kinds(model: Path) -> list[tuple[str, str]]:
    own = [(f"{stem}.{kind}", kind) for kind in ("preprocess.json", *LABELS_NAMES) for stem in model_stems(model)]
    return [*own, *((name, name) for name in (*PREPROCESS_NAMES, *LABELS_NAMES, *YAML_NAMES))]


def stating_files(model: Path) -> list[str]:
    """The files that may be read beside a model to know its preprocessing and names, as paths from its folder."""
    folders = ("", "../")[: len(model_folders(model))]
    return [f"{above}{name}" for above in folders for name, _ in _names_and_kinds(model)]


def sidecars(model: Path) -> Iterator[Path]:
    """The files beside a model that are its names, its preprocessing, its configuration or its weights by their name.

    Whether they are there is not looked at.
    """
    names = [*PREPROCESS_NAMES, *LABELS_NAMES, *YAML_NAMES, *_OTHERS]
    for stem in (*model_stems(model), model.name):
        names += [stem + ending for ending in _ENDINGS]
    return (folder / name for folder in model_folders(model) for name in names)
