"""Find out which layout a data set has, and read it."""

from __future__ import annotations

from pathlib import Path

from onnx_gapmil.data.building import build
from onnx_gapmil.data.files import ImageFinder, absolute, read_text
from onnx_gapmil.data.folders import LAYOUTS, read_folders
from onnx_gapmil.data.jsonlines import is_json_lines, load_json, read_json_lines, read_json_list
from onnx_gapmil.data.records import NEEDED
from onnx_gapmil.data.tables import read_table
from onnx_gapmil.data.types import DataSet
from onnx_gapmil.errors import DataError

TABLES = {".csv", ".tsv"}
JSONS = {".json", ".jsonl", ".ndjson"}


def open_data(path: str | Path, *, labels: str | Path | None = None) -> DataSet:
    """Open a labelled data set, whatever its layout.

    Args:
        path: DATA: a folder, or a label file with the images in its folder.
        labels: a label file for the images in the folder `path`.

    Raises:
        DataError: nothing is there, no layout fits, or what is there is broken; says which and where.
    """
    data = Path(path)
    if labels is not None:
        if not data.is_dir():
            raise DataError(f"{data}: a label file was given, so DATA has to be the folder of its images.")
        return _read_label_file(absolute(Path(labels)), absolute(data))
    if data.is_dir():
        return _open_folder(absolute(data))
    if not data.exists():
        raise DataError(f"{data}: no such file or folder; check the path.")
    file = absolute(data)
    return _read_label_file(file, file.parent)


def _open_folder(root: Path) -> DataSet:
    files = sorted(entry for entry in root.iterdir() if entry.suffix.lower() in TABLES | JSONS)
    if len(files) == 1:
        return _read_label_file(files[0], root)
    return read_folders(root, "")


def _read_label_file(file: Path, root: Path) -> DataSet:
    ending = file.suffix.lower()
    finder = ImageFinder([root, file.parent])
    what = f"{file.name} in {file.parent}"
    if ending in TABLES:
        text = read_text(file)
        return build(read_table(file, text, finder), kind="csv", root=root, what=what, notes=text.notes)
    if ending in JSONS:
        text = read_text(file)
        if ending != ".json" or is_json_lines(text.text):
            placed = read_json_lines(file, text, finder)
        else:
            loaded = load_json(text.text, str(file))
            if not isinstance(loaded, list):
                raise DataError(f"{file}: a list of objects was expected; {NEEDED}.")
            placed = read_json_list(file, loaded, finder)
        return build(placed, kind="jsonl", root=root, what=what, notes=text.notes)
    raise DataError(f"{file}: not a label file that is known. Known layouts: {LAYOUTS}.")
