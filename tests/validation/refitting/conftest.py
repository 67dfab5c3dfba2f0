"""Digit scenes with labels of both kinds, made once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

from sample_models.scenes import iter_scenes


@dataclass(frozen=True)
class Scenes:
    """Label files of the same scenes.

    Attributes:
        folder: of all of it.
        one: one label each.
        several: all digits each.
    """

    folder: Path
    one: Path
    several: Path


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Eighty of them, held out."""
    folder = tmp_path_factory.mktemp("scenes")
    one, several = [], []
    for number, scene in enumerate(iter_scenes("held_out", 5, 80)):
        name = f"s{number:03d}.png"
        assert cv2.imwrite(str(folder / name), scene.image[:, :, ::-1])
        one.append({"image": name, "label": scene.label, "camera": f"c{number % 30}"})
        several.append({"image": name, "labels": sorted(scene.present)})
    files = []
    for name, rows in (("one.jsonl", one), ("several.jsonl", several)):
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        files.append(folder / name)
    return Scenes(folder, *files)
