"""Audits of sigmoids and of swapped classes: patches of colours, whose answers follow from the pixels."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from scipy.special import expit
from sklearn import metrics as sklearn_metrics

from onnx_gapmil.auditing import Request, audit
from onnx_gapmil.auditing.summary import AuditSummary
from onnx_gapmil.auditing.text import audit_note
from tests.helpers import colours

PHOTOS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("colours")
    colours.write_photos(made / "data", PHOTOS)
    for kind in ("sigmoids", "logits", "one"):
        colours.write_model(made / f"{kind}.onnx", kind)
    (made / "names.txt").write_text("\n".join(colours.NAMES))
    (made / "defect.txt").write_text("ok\ndefect")
    return made


def audited(folder: Path, model: str = "sigmoids", out: str = "out", **options: object) -> AuditSummary:
    given = {"model": folder / f"{model}.onnx", "data": folder / "data" / "labels.jsonl"}
    return audit(Request(**{**given, "names": folder / "names.txt", **options}), folder / out)  # type: ignore[arg-type]


def truth(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of every photo, by hand."""
    lines = [json.loads(line) for line in (folder / "data" / "labels.jsonl").read_text().splitlines()]
    labels = np.array([[name in line["labels"] for name in colours.NAMES] for line in lines])
    pixels = [np.asarray(Image.open(folder / "data" / line["image"])) for line in lines]
    return labels, np.array([colours.logits(entry) for entry in pixels])


def said(summary: AuditSummary, folder: Path) -> str:
    terminal = Console(width=400, color_system=None, file=io.StringIO(), record=True)
    terminal.print(audit_note(summary, folder, dict(enumerate(colours.NAMES))))
    return " ".join(terminal.export_text().split())


def test_sigmoids_are_measured_by_what_scikit_learn_finds(folder: Path) -> None:
    summary = audited(folder)
    labels, logits = truth(folder)
    assert summary.images == PHOTOS  # those without a label are negatives for all
    found = summary.multi_label
    assert found is not None
    assert found.without_label == (~labels.any(axis=1)).sum() > 0
    assert found.mean_average_precision == pytest.approx(
        sklearn_metrics.average_precision_score(labels, expit(logits), average="macro")
    )
    for average in ("micro", "macro"):
        expected = sklearn_metrics.precision_recall_fscore_support(
            labels, expit(logits) > 0.5, average=average, zero_division=np.nan
        )
        own = getattr(found, average)
        assert (own.precision, own.recall, own.f1) == pytest.approx(expected[:3])
    assert summary.head.reading == "multi-label"
    assert summary.head.thresholds == 0.5
    assert summary.likely_swaps == ()
    content = json.loads((folder / "out" / "summary.json").read_text())
    assert content["multi_label"]["by_class"]["2"]["images"] == labels[:, 2].sum()
    assert content["intervals"]["multi_label.micro.f1"][0] < found.micro.f1


def test_each_aggregator_has_its_own_precision(folder: Path) -> None:
    summary = audited(folder)
    labels, _ = truth(folder)
    lines = [json.loads(line) for line in (folder / "data" / "labels.jsonl").read_text().splitlines()]
    cells = []
    for line in lines:
        pixels = np.asarray(Image.open(folder / "data" / line["image"])) / 255.0
        cells.append(pixels.reshape(6, 8, 6, 8, 3).mean(axis=(1, 3)).reshape(36, 3) * colours.GAIN + colours.BIAS)
    grid = np.array(cells)
    expected = {
        "mean": grid.mean(axis=1),
        "max": grid.max(axis=1),
        "median": np.median(grid, axis=1),
        "prob_mean": expit(grid).mean(axis=1),
        "noisy_or": -np.log1p(-np.clip(expit(grid), 0, 1 - 1e-13)).sum(axis=1),
    }
    for name, scores in expected.items():
        precision = sklearn_metrics.average_precision_score(labels, np.round(scores, 4), average="macro")
        assert summary.aggregators[name].mean_average_precision == pytest.approx(precision, abs=5e-3), name


def test_the_text_has_no_top_1_and_no_softmax(folder: Path) -> None:
    text = said(audited(folder), folder / "out")
    assert "mean average precision" in text
    assert "a ranking by chance gets" in text
    assert "Lowest average precision:" in text
    for word in ("top-1", "top-5", "ECE", "Answered rightly"):
        assert word not in text
    assert "softmax" not in text.replace("softmax_weighted", "")


def test_tables_have_what_is_present_and_each_classs_figures(folder: Path) -> None:
    audited(folder)
    _, logits = truth(folder)
    rows = pq.read_table(folder / "out" / "images.parquet").to_pylist()
    assert [row["present"] for row in rows] == [np.flatnonzero(row > 0).tolist() for row in logits]
    assert rows[0]["present_names"] == [colours.NAMES[index] for index in rows[0]["present"]]
    classes = pq.read_table(folder / "out" / "classes.parquet").to_pylist()
    assert [row["name"] for row in classes] == list(colours.NAMES)
    assert all(row["threshold"] == 0.5 and 0 < row["average_precision"] <= 1 for row in classes)


def test_thresholds_move_precision_and_recall_and_not_the_ranking(folder: Path) -> None:
    plain = audited(folder)
    (folder / "levels.json").write_text(json.dumps({"red": 0.2, "blue": 0.9}))
    moved = audited(folder, out="levels", thresholds=str(folder / "levels.json"))
    labels, logits = truth(folder)
    assert plain.multi_label is not None
    assert moved.multi_label is not None
    assert moved.head.thresholds == pytest.approx((0.2, 0.5, 0.9))
    assert moved.multi_label.mean_average_precision == plain.multi_label.mean_average_precision
    expected = sklearn_metrics.recall_score(labels, expit(logits) > [0.2, 0.5, 0.9], average=None)
    own = [moved.multi_label.by_class[str(index)].recall for index in range(3)]
    np.testing.assert_allclose(own, expected)


def test_bare_logits_are_multi_label_once_thresholds_are_given(folder: Path) -> None:
    plain = audited(folder, "logits", "bare")
    assert plain.multi_label is None
    labels, _ = truth(folder)
    assert plain.images == labels.any(axis=1).sum()  # one of many: an image without a label is no question
    assert "left out for another" in " ".join(plain.data.notes)
    assert audited(folder, "logits", "levels2", thresholds="0.5").multi_label == audited(folder).multi_label


def defects(folder: Path, count: int = 12) -> Path:
    """Photos with a red patch, labelled 1, and without, labelled 0."""
    made = folder / "defects"
    made.mkdir(exist_ok=True)
    lines = ["image,label"]
    for place in range(count):
        Image.fromarray(colours.photo([(0, 1, 2, 3)] if place % 2 else [(1, 0, 0, 2)])).save(made / f"{place}.png")
        lines.append(f"{place}.png,{['fine', 'broken'][place % 2]}")
    (made / "labels.csv").write_text("\n".join(lines))
    return made / "labels.csv"


@pytest.mark.parametrize("swapped", [False, True])
def test_two_classes_in_the_wrong_order_are_announced(folder: Path, swapped: bool) -> None:
    """One logit: class 0 is *not x*, class 1 is *x*; a class map with the two exchanged is what people write."""
    (folder / "map.json").write_text(json.dumps({"fine": int(swapped), "broken": int(not swapped)}))
    summary = audited(
        folder,
        "one",
        f"one{swapped}",
        data=defects(folder),
        class_map=folder / "map.json",
        names=folder / "defect.txt",
    )
    assert summary.top1 == float(not swapped)
    text = said(summary, folder / "out")
    assert "top-1" in text
    assert "top-5" not in text  # of two classes every answer is among the first five
    if not swapped:
        assert summary.likely_swaps == ()
        assert "Likely swapped" not in text
        return
    (swap,) = summary.likely_swaps
    assert (swap.classes, swap.images, swap.right, swap.right_if_swapped) == ((0, 1), 12, 0, 12)
    assert swap.p_value == pytest.approx(2.0**-12)
    assert "of 12 images of theirs 0 are answered right, and with the classes exchanged it would be 12" in text
    content = json.loads((folder / f"one{swapped}" / "summary.json").read_text())
    assert content["likely_swaps"][0]["classes"] == [0, 1]


def test_names_number_the_two_classes_as_predict_does(folder: Path) -> None:
    (folder / "by_name.json").write_text(json.dumps({"fine": "ok", "broken": "defect"}))
    summary = audited(
        folder,
        "one",
        "by_name",
        data=defects(folder),
        class_map=folder / "by_name.json",
        names=folder / "defect.txt",
    )
    assert (summary.top1, summary.head.reading) == (1.0, "two-classes")
    assert [row.index for row in summary.classes] == [0, 1]


def test_labels_of_several_classes_are_not_called_suspect(folder: Path, tmp_path: Path) -> None:
    """Labels of the wrong colour, which the same rule suspects where one class wins."""
    lines = [json.loads(line) for line in (folder / "data" / "labels.jsonl").read_text().splitlines()]
    lines = [line for line in lines if len(line["labels"]) == 1]
    for place, line in enumerate(lines):
        if place < 3:
            line["labels"] = [next(name for name in colours.NAMES if name not in line["labels"])]
        line.pop("boxes", None)
        line.pop("box_labels", None)
    data = folder / "data" / "wrong.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)))
    several = audited(folder, out="wrong", data=data)
    assert (several.suspect_labels.images, several.suspect_labels.of) == (0, 0)
    assert audited(folder, "logits", out="wrong_logits", data=data).suspect_labels.images > 0


def test_the_colours_of_sigmoids_are_found_out_from_the_images_that_have_labels(folder: Path) -> None:
    """Some photos of this data have no label, which is an answer, and ranks no class first."""
    found = audited(folder, out="auto", preprocess="auto")
    assert found.preprocess.color == "RGB"
    assert not found.is_at_chance
