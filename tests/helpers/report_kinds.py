"""Reports of real audits of every kind that a page meets: names of any script, few and many classes, errors or none.

The model finds colours: each class speaks for one, so that what is right is known.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_gapmil.auditing.page import Report
from tests.helpers import audited_reports
from tests.helpers.support import text_model

COLOURS = ((230, 40, 40), (40, 190, 60), (50, 70, 230), (235, 220, 50), (60, 210, 220), (210, 60, 200))
LATIN = ["Rouge-gorge familier", "Großer Bär", "jalapeño", "mushroom, edible fungus", "Łódź", "smørrebrød"]
CHINESE = ["紅色的鳥", "綠色的樹葉，夏天", "蓝色海洋", "黄色香蕉", "青色玻璃瓶子與很長很長很長的名字", "品红"]
ARABIC = [
    "طائر أحمر",
    "ورقة شجر خضراء",
    "بحر أزرق (عميق)",
    "موزة صفراء",
    "زجاج سماوي",
    "زهرة أرجوانية طويلة الاسم جدا جدا",
]
SIDE = 64


def coloured(
    folder: Path,
    names: list[str],
    count: int = 18,
    *,
    taught: Callable[[int], int] = lambda index: index,
    every: int = 5,
    boxes: bool = True,
    files: str = "scene {}",
    column: tuple[str, str] | None = None,
) -> Report:
    """Scenes with a large and a small square of two colours; the label is the small one's in every so many.

    Args:
        folder: for all files.
        names: of the six classes.
        count: of scenes.
        taught: the label's class from the colour that is meant; the identity for right labels.
        every: in each of so many scenes the label is the small square, which the mean over cells does not name; 0 for
            none.
        boxes: whether the label's place is told.
        files: what images are called, with their number.
        column: another column of the data and its value for odd scenes.
    """
    lines = []
    (folder / "scenes").mkdir(parents=True)
    for index in range(count):
        photo, places = scene(index)
        name = f"scenes/{files.format(index)}.png"
        Image.fromarray(photo).save(folder / name)
        colour, box = places[1 if every and index % every == 0 else 0]
        line: dict[str, Any] = {"image": name, "label": taught(colour)}
        if boxes:
            line["objects"] = [{"class": taught(colour), "box": box}]
        if column is not None:
            line[column[0]] = column[1] if index % 2 else "other"
        lines.append(line)
    return audited_reports.audited(folder, detector(folder, names), audited_reports.write_labels(folder, lines))


def scene(index: int) -> tuple[npt.NDArray[np.uint8], list[tuple[int, list[int]]]]:
    """A photo of (64, 64, 3) and, of its large and its small square, the colour's class and the box."""
    rng = np.random.default_rng(index)
    photo = rng.normal(120, 6, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    large, small = index % 6, (index + 2) % 6
    places = [(large, [0, 0, 40, 40]), (small, [48, 40, 64, 64])]
    for colour, (x0, y0, x1, y1) in places:
        photo[y0:y1, x0:x1] = COLOURS[colour]
    return photo, places


def detector(folder: Path, names: list[str], *, activation: str = "", classes: int = 6) -> Path:
    """A model that averages pixels to 8 x 8 cells, of which each class hears its colour; (K, 8, 8) before the pool."""
    palette = np.array([COLOURS[index % 6] for index in range(classes)], np.float32) / 255 - 0.47
    loud = 14 * 0.98 ** np.arange(classes, dtype=np.float32)[:, None]  # no two classes of a colour tie
    kernel = (palette / np.linalg.norm(palette, axis=1, keepdims=True) * loud).reshape(classes, 3, 1, 1)
    body = "a = AveragePool<kernel_shape=[8, 8], strides=[8, 8]>(x)\n s = Sub(a, m)\n c = Conv(s, w)\n"
    body += " p = GlobalAveragePool(c)\n " + (
        f"f = Flatten(p)\n y = {activation}(f)" if activation else "y = Flatten(p)"
    )
    model = text_model(
        body,
        x=f"float[N,3,{SIDE},{SIDE}] x",
        y=f"float[N,{classes}] y",
        init={"w": kernel, "m": np.float32(0.47)},
    )
    return audited_reports.saved(model, folder, names)


def one_logit(folder: Path) -> Report:
    """Red or not, by one logit."""
    lines = []
    (folder / "scenes").mkdir(parents=True)
    for index in range(16):
        photo, places = scene(index)
        Image.fromarray(photo).save(folder / f"scenes/{index}.png")
        red = any(colour == 0 for colour, _ in places)
        line: dict[str, Any] = {"image": f"scenes/{index}.png", "label": int(red)}
        if red:
            line["objects"] = [{"class": 1, "box": box} for colour, box in places if colour == 0]
        lines.append(line)
    model = detector(folder, ["not red", "red"], activation="Sigmoid", classes=1)
    return audited_reports.audited(folder, model, audited_reports.write_labels(folder, lines))


def sigmoids(folder: Path) -> Report:
    """14 findings, each by itself; two or more are in each photo."""
    lines = []
    (folder / "scenes").mkdir(parents=True)
    for index in range(20):
        photo, places = scene(index)
        Image.fromarray(photo).save(folder / f"scenes/{index}.png")
        present = [kind for kind in range(14) if any(kind % 6 == colour for colour, _ in places)]
        objects = [{"class": kind, "box": box} for kind in present for colour, box in places if kind % 6 == colour]
        lines.append({"image": f"scenes/{index}.png", "labels": present, "objects": objects})
    names = [f"finding {index}" for index in range(14)]
    model = detector(folder, names, activation="Sigmoid", classes=14)
    return audited_reports.audited(folder, model, audited_reports.write_labels(folder, lines))


KINDS: dict[str, Callable[[Path], Report]] = {
    "latin": lambda folder: coloured(folder, LATIN, column=("caméra", "nuit")),
    "chinese": lambda folder: coloured(folder, CHINESE, files="照片 {}", column=("相机", "夜")),
    "arabic": lambda folder: coloured(folder, ARABIC, files="صورة {}", column=("كاميرا", "ليل")),
    "one-logit": one_logit,
    "14-sigmoids": sigmoids,
    "1000-classes": lambda folder: audited_reports.many_classes(folder, classes=1000, images=60),
    "1-image": lambda folder: coloured(folder, LATIN, 1),
    "no-error": lambda folder: coloured(folder, LATIN, every=0),
    "all-errors": lambda folder: coloured(folder, LATIN, every=0, taught=lambda colour: (colour + 1) % 6),
    "no-boxes": lambda folder: coloured(folder, LATIN, boxes=False),
}
