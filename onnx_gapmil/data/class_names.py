"""Names for the classes: from a file, or from the model's own; none are shipped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_gapmil.data.stated_names import StatedNames, is_placeholder
from onnx_gapmil.errors import LabelsError
from onnx_gapmil.files.literals import parse_names
from onnx_gapmil.files.sidecars import CONFIG_NAME, LABELS_NAMES, YAML_NAMES, model_folders, model_stems
from onnx_gapmil.files.text import parse_json, read_text
from onnx_gapmil.files.urls import said
from onnx_gapmil.files.wording import count as counted
from onnx_gapmil.files.wording import were
from onnx_gapmil.files.yaml_text import read_yaml
from onnx_gapmil.images.paddle import paddle_names

_SYNSET_LINE = re.compile(r"(n\d{8})[\s,]+(\S.*)")
_WNID = re.compile(r"(n\d{8})(?![\w])")
_NUMBERED_LINE = re.compile(r"(\d+)(?:\s*[:=]\s*|\s+)(\S.*)")


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The names of a head's classes, and where they come from.

    Attributes:
        names: one for each class, in the order of the logits; None where nothing names them.
        source: one sentence, to be printed.
        wnids: WordNet ids, in the same order, where the file has one for each class.
    """

    names: tuple[str, ...] | None
    source: str
    wnids: tuple[str, ...] | None = None

    def name(self, index: int) -> str:
        """A class's name, or its number."""
        return self.names[index] if self.names is not None and index < len(self.names) else f"class {index}"

    def of_two_classes(self) -> ClassNames:
        """Of a head of one logit: *not x* before *x*, as `with_two_classes` puts its logits."""
        if self.names is None or len(self.names) != 1:
            return self
        return replace(self, names=(f"not {self.names[0]}", self.names[0]))


def class_names(
    model_path: Path | None,
    count: int,
    *,
    asked: str | Path | Sequence[str] | None = None,
    stated: Sequence[StatedNames] = (),
) -> ClassNames:
    """The names of a model's classes: those asked for, those of a file beside the model, those in it, else numbers.

    Args:
        model_path: where the model lies; None for one in memory.
        count: the number of logits K.
        asked: a file of names, or K names.
        stated: what the model's file holds; see `stated_names`.

    Raises:
        LabelsError: the file, or the first one beside the model, cannot be read or does not fit.
    """
    if isinstance(asked, str | Path):
        source = f"Class names from {said(asked)}, as asked for."
        return ClassNames(read_class_names(asked, count), source, read_wnids(asked, count))
    if asked is not None:
        if len(asked) != count:
            raise LabelsError(f"{were(len(asked), 'class name')} given, and the model has {counted(count, 'class')}.")
        return ClassNames(tuple(asked), "Class names as given.")
    found = find_class_names(model_path, count) if model_path is not None else None
    if found is not None:
        return found
    return _of_file(count, stated)


def _of_file(count: int, stated: Sequence[StatedNames]) -> ClassNames:
    """The first names of the model's own file that are as many as its classes, and what is to be said of the others."""
    fitting = [entry for entry in stated if len(entry.names) == count]
    others = [f"{entry.source} has {len(entry.names)} names" for entry in stated if len(entry.names) != count]
    if not fitting:
        why = f" ({'; '.join(others)}, and the head has {count} classes)" if others else ""
        return ClassNames(
            None, f"No class names were given, or found beside the model or in it{why}: classes are shown by number."
        )
    first = fitting[0]
    against = [entry.source for entry in fitting[1:] if entry.names != first.names]
    more = f" {_listed(against)} says otherwise and is not followed." if against else ""
    wnids = [match[1] if (match := _WNID.match(name)) else "" for name in first.names]
    return ClassNames(
        first.names,
        f"Class names from {first.source}, in the model's file.{more}",
        tuple(wnids) if sum(map(bool, wnids)) > 1 else None,
    )


def _listed(sources: Sequence[str]) -> str:
    text = " and ".join(sources)
    return text[:1].upper() + text[1:]


def read_class_names(path: str | Path, count: int) -> tuple[str, ...]:
    """Read class names, in the order of the logits.

    Forms, told apart by content:

    - text, one name a line; lines that are all numbered (`0 cat`, `1: dog`) are put in that order;
    - ImageNet's synset words (`n01440764 tench, Tinca tinca`): the first name, `tench`, is kept. Where
      classes share it (there are two cranes), all their names are kept, and the synset too if that does not
      help;
    - a JSON list of names; a JSON object from index to name, or from name to index; Keras' `{"0": [synset,
      name]}`; a Hugging Face `config.json` with `id2label`.

    Args:
        path: the file, UTF-8.
        count: the number of classes K of the model.

    Returns:
        K names.

    Raises:
        LabelsError: the file cannot be read, has another form, or names a different number of classes.
    """
    file = Path(path)
    if file.suffix.lower() in {".csv", ".tsv"}:
        raise LabelsError(f"{file}: tables are not read; write one name a line in a .txt, or a JSON list.")
    text = read_text(file, LabelsError)
    if file.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
        names = _from_json(parse_json(text, str(file), LabelsError), file)
    else:
        names = _from_lines(text, file)
    if len(names) != count:
        raise LabelsError(
            f"{file}: {counted(len(names), 'name')} for a model of {counted(count, 'class')}."
            f"{_advice(len(names), count)}"
        )
    return tuple(names)


def read_wnids(path: str | Path, count: int) -> tuple[str, ...] | None:
    """Read the WordNet ids of a file of class names, in the order of the logits.

    They stand in ImageNet's synset words (`n01440764 tench, Tinca tinca`), in files of bare ids, and in Keras'
    `{"0": ["n01440764", "tench"]}`; a background class may be without one.

    Args:
        path: the file, UTF-8, in a form that `read_class_names` reads.
        count: the number of classes K of the model.

    Returns:
        K ids, empty where a class has none; None if at most one class has an id, or the number is not K.

    Raises:
        LabelsError: the file cannot be read.
    """
    text = read_text(Path(path), LabelsError)
    if text.lstrip()[:1] in ("[", "{"):
        words = _json_words(parse_json(text, str(path), LabelsError))
    else:
        words = text.rstrip().splitlines()
    found = [match[1] if (match := _WNID.match(word.strip())) else "" for word in words]
    return tuple(found) if len(found) == count and sum(map(bool, found)) > 1 else None


def _json_words(data: object) -> list[str]:
    """What stands first in each entry of a JSON list, or of an object from index."""
    if isinstance(data, Mapping) and isinstance(data.get("id2label"), Mapping):
        data = data["id2label"]
    if isinstance(data, Mapping) and all(re.fullmatch(r"\d{1,9}", key) for key in data):
        data = [data[key] for key in sorted(data, key=int)]
    if not isinstance(data, list):
        return []
    return [str(item[0] if isinstance(item, list) and item else item) for item in data]


def find_class_names(model_path: str | Path, count: int) -> ClassNames | None:
    """Look for names beside a model: `STEM.labels.txt`, `STEM.labels.json`, `labels.txt`, `labels.json`, `config.json`.

    STEM is the model's name without `.onnx`, and without `.gapmil` too. Hugging Face's `config.json` names the classes
    under `id2label`, timm's under `label_names`; one with another number of them is passed over.

    Raises:
        LabelsError: the first of them that is there cannot be read or does not fit.
    """
    model = Path(model_path)
    for name in (*(f"{stem}.{name}" for stem in model_stems(model) for name in LABELS_NAMES), *LABELS_NAMES):
        path = model.parent / name
        if path.is_file():
            names, source = read_class_names(path, count), f"Class names from {said(path)}, beside the model."
            return ClassNames(names, source, read_wnids(path, count))
    return _in_configuration(model, count)


def _in_configuration(model: Path, count: int) -> ClassNames | None:
    """The names in a library's `config.json`, or in PaddleX' `inference.yml`, beside the model."""
    for folder in model_folders(model):
        path = folder / CONFIG_NAME
        if not path.is_file():
            continue
        data = parse_json(read_text(path, LabelsError), str(path), LabelsError)
        if not isinstance(data, Mapping):
            continue
        for key in ("id2label", "label_names"):
            names = parse_names(data.get(key))
            if names is not None and len(names) == count and not is_placeholder(names):
                source = f"Class names from {said(path)} ({key}), beside the model."
                return ClassNames(tuple(names), source, None)
    for path in (folder / name for folder in model_folders(model) for name in YAML_NAMES):
        found = parse_names(paddle_names(read_yaml(path, LabelsError))) if path.is_file() else None
        if found is not None and len(found) == count:
            return ClassNames(tuple(found), f"Class names from {said(path)} (label_list), beside the model.", None)
    return None


def _advice(names: int, classes: int) -> str:
    if names == classes - 1:
        return " One is missing: the model likely has a background class, often index 0; add its line."
    if names == classes + 1:
        return " One too many: the file likely names a background class that the model lacks."
    return " Give the file that was made for this model."


def _from_lines(text: str, file: Path) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise LabelsError(f"{file}: line {lines.index('') + 1} is empty; every class needs a name.")
    synsets = [_SYNSET_LINE.fullmatch(line) for line in lines]
    if lines and all(synsets):
        return _short_names([(match[1], match[2]) for match in synsets if match])
    numbered = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    if lines and all(numbered):
        by_index = {int(match[1]): match[2] for match in numbered if match}
        if sorted(by_index) == list(range(len(lines))):
            return [by_index[index] for index in range(len(lines))]
    return lines


def _short_names(words: Sequence[tuple[str, str]]) -> list[str]:
    """The first of each class's names; more where that is not unique."""
    first = [names.split(",")[0].strip() for _, names in words]
    occurs, occurs_in_full = Counter(first), Counter(names for _, names in words)
    return [
        short if occurs[short] == 1 else names if occurs_in_full[names] == 1 else f"{names} ({synset})"
        for short, (synset, names) in zip(first, words, strict=True)
    ]


def _from_json(data: object, file: Path) -> list[str]:
    if isinstance(data, Mapping) and isinstance(data.get("id2label"), Mapping):
        data = data["id2label"]
    if isinstance(data, list):
        return [_name(item, file) for item in data]
    if not isinstance(data, Mapping) or not data:
        raise LabelsError(f"{file}: a JSON list of names, or an object from index to name, was expected.")
    if all(type(value) is int for value in data.values()):
        by_index = {int(value): str(key) for key, value in data.items()}
    elif all(re.fullmatch(r"\d{1,9}", key) for key in data):
        by_index = {int(key): _name(value, file) for key, value in data.items()}
    else:
        raise LabelsError(f"{file}: the JSON object's keys are not class indexes, and its values are not either.")
    if len(by_index) != len(data) or sorted(by_index) != list(range(len(by_index))):
        raise LabelsError(f"{file}: the indexes have to run from 0 to {len(data) - 1} without a gap or a double.")
    return [by_index[index] for index in range(len(by_index))]


def _name(value: object, file: Path) -> str:
    if isinstance(value, list) and len(value) == 2:  # Keras' imagenet_class_index.json
        value = value[1]
    if not isinstance(value, str) or not value.strip():
        raise LabelsError(f"{file}: a class name is {str(value)[:40]!r}, which is no text.")
    return value.strip()
