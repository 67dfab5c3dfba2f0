"""The audit from end to end: its figures against the vendor's model run by hand, and every way to stop and go on."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from onnx_gapmil import rewrite
from onnx_gapmil.auditing import Progress, Request, audit
from onnx_gapmil.errors import DataError, InputError
from onnx_gapmil.files import packed, pieces
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from tests.helpers import audited_reports
from tests.helpers import scene_data as scenes
from tests.helpers.held import held_at, wait_until

RESULTS = {"summary.json", "images.parquet", "classes.parquet", "report.html"}


def audited(output: Path, data: Path, model: Path = scenes.MODEL, **request: Any) -> dict[str, Any]:
    return audit(Request(model=model, data=data, **request), output).to_json()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- figures ----------------------------------------------------------------------------------------------------


def test_image_level_figures_are_the_vendors_own(tmp_path: Path) -> None:
    found = audited(tmp_path / "out", scenes.write_scenes(tmp_path / "data"))
    logits, labels = scenes.vendor_answers(), [entry["label"] for entry in scenes.entries()]
    top5 = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    assert found["top1"] == np.mean(logits.argmax(axis=1) == labels)
    assert found["top5"] == np.mean([label in row for label, row in zip(labels, top5, strict=True)])
    assert found["aggregators"]["mean"]["top1"] == found["top1"]
    assert found["aggregators"]["mean"]["interval"] == found["intervals"]["top1"]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [row["prediction"] for row in rows] == logits.argmax(axis=1).tolist()
    assert np.allclose(
        [row["probability"] for row in rows], (shifted / shifted.sum(1, keepdims=True)).max(1), atol=1e-5
    )
    assert rows[0]["label_names"] == ["nine"]


def test_the_folder_has_the_promised_files_and_keys(tmp_path: Path) -> None:
    found = audited(tmp_path / "out", scenes.write_scenes(tmp_path / "data"))
    assert set(contents(tmp_path / "out")) == RESULTS
    assert json.loads((tmp_path / "out" / "summary.json").read_text("utf-8")) == found
    promised = (
        "schema_version model model_sha256 model_weights verdict head proof data images failed failures preprocess"
    )
    promised += (
        " preprocess_source preprocess_assumed preprocess_guessed fast_decode class_map names_source provider versions"
    )
    promised += " aggregators size stitch"
    promised += " top1 top5 macro foreground recoverable error_causes background_reliance background edges"
    promised += " pointing_game pointing_game_centre pointing_game_excess maxboxacc_v2 maxboxacc_v1 top1_localization"
    promised += " localization pxap calibration several_objects intervals counts suspect_labels slices slice_columns"
    promised += " multi_label likely_swaps sizes"
    assert list(found) == promised.split()
    head = "output activation grid_shape quantized position_dependent note reading thresholds"
    head += " class_token class_token_lift placeless_share pool_weights pool"
    assert list(found["head"]) == head.split()
    boxes = "iou_0.3 iou_0.5 iou_0.7 mean threshold oracle halves"
    assert list(found["localization"]) == f"objects {boxes} centre_box excess one_box top1".split()
    one = "share threshold oracle halves"
    assert list(found["localization"]["one_box"]) == f"{one} centre_box excess".split()
    assert list(found["localization"]["top1"]["centre_box"]) == one.split()
    assert list(found["localization"]["centre_box"]) == boxes.split()
    assert list(found["calibration"]) == ["ece", "bins", "confidence", "brier", "nll"]
    assert {"mean", "max", "lse", "topk", "softmax_weighted", "noisy_or", "median", "prob_mean"} <= set(
        found["aggregators"]
    )
    for part in found["foreground"].values():
        assert {"images", "any_top1", "any_top5", "cell_share", "background_share"} <= set(part)
    assert sum(found["error_causes"].values()) == round((1 - found["top1"]) * found["images"])
    assert found["provider"]["nodes"]


def test_all_digits_of_a_scene_are_counted_though_it_has_one_label(tmp_path: Path) -> None:
    found = audited(tmp_path / "out", scenes.write_scenes(tmp_path / "data"))
    several = [entry for entry in scenes.entries() if len(entry["objects"]) > 1]
    present = [{thing["class"] for thing in entry["objects"]} for entry in several]
    answers = scenes.vendor_answers().argmax(axis=1)
    named = [answers[place] for place, entry in enumerate(scenes.entries()) if len(entry["objects"]) > 1]
    assert found["several_objects"]["images"] == len(several)
    assert found["several_objects"]["objects"] == sum(map(len, present))
    assert found["several_objects"]["top1"] == sum(name in own for name, own in zip(named, present, strict=True))
    assert found["several_objects"]["grid"] > found["several_objects"]["top1"]


def test_columns_of_the_label_file_make_slices(tmp_path: Path) -> None:
    labels = scenes.write_scenes(tmp_path / "data", copies=2)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    for place, line in enumerate(lines):
        line["number"], line["brightness"] = 5000 + 7 * place, place + 0.5
        line |= {"camera": "night" if place < 6 else "day"} if place < 12 else {}
    lines[3]["image"] = "gone.png"  # fails, and is in no slice
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    found = audited(tmp_path / "out", labels)
    right = np.array([row["right"] for row in pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()])
    cameras = found["slices"]["camera"]
    assert [(value, part["images"]) for value, part in cameras.items()] == [("day", 6), ("night", 5), ("(missing)", 4)]
    nights = [place for place in range(6) if place != 3]
    assert cameras["night"]["top1"] == np.mean([right[place] for place in nights])
    assert [part["images"] for part in found["slices"]["brightness"].values()] == [4, 4, 4, 3]
    assert found["slice_columns"]["brightness"]["bins"]["q1"] == [0.5, 4.5]
    assert "whole number of its own" in found["slice_columns"]["number"]["left_out"]
    assert {"object_size", "aspect"} <= set(found["slice_columns"])
    assert found["slice_columns"]["aspect"]["left_out"] == "all images have the same value."
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert dict(rows[4]["slices"])["brightness"] == "q1"
    assert (rows[3]["slices"], rows[3]["suspect"]) == (None, None)
    assert sum(row["suspect"] is True for row in rows) == found["suspect_labels"]["images"]


def test_a_slice_of_which_every_image_failed_or_has_no_label_is_said(tmp_path: Path) -> None:
    labels = scenes.write_scenes(tmp_path / "data", copies=2)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    for place, line in enumerate(lines):
        line["camera"] = ("day", "dusk", "night", "storm")[place % 4]
        if line["camera"] == "night":
            (labels.parent / line["image"]).write_bytes(b"no image")
        elif line["camera"] == "storm":
            del line["label"], line["objects"]
            line["labels"] = []
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    found = audited(tmp_path / "out", labels)
    assert list(found["slices"]["camera"]) == ["day", "dusk"]
    assert found["slice_columns"]["camera"]["unjudged"] == {"night": len(lines) // 4, "storm": len(lines) // 4}
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for value in ("night", "storm"):
        row = re.search(rf"<tr[^>]*><th[^>]*><bdi>{value}</bdi></th>(.*?)</tr>", page)
        assert row is not None
        assert re.findall(r">([^<>]+)</td>", row[1]) == [
            f"{len(lines) // 4}",
            "not judged: all its images failed or have no label",
        ]


def test_a_planted_label_is_suspect(tmp_path: Path) -> None:
    """Scenes of one digit that the model is sure of; one of them is labelled with a digit that is not there."""
    labels = scenes.write_scenes(tmp_path / "data", copies=6)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    lines = [line for line in lines if len(line["objects"]) == 1]
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    clean = audited(tmp_path / "clean", labels)["suspect_labels"]
    (there,) = {thing["class"] for thing in lines[0]["objects"]}
    wrong = int(scenes.vendor_answers()[0].argmin())
    lines[0] |= {"label": wrong, "objects": [{**lines[0]["objects"][0], "class": wrong}]}
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    found = audited(tmp_path / "out", labels)["suspect_labels"]
    (entry,) = found["listed"]
    assert (entry["image"], entry["labels"], entry["answer"]) == (lines[0]["image"], [wrong], there)
    assert entry["label_names"] == [(scenes.SAMPLES / "digits_torch_legacy.labels.txt").read_text().split()[wrong]]
    assert entry["confidence"] > 0.5 > entry["label_probability"]
    assert (found["images"], found["of"]) == (1, len(lines))
    assert clean["images"] == 0


def test_masks_of_the_boxes_shape_give_the_boxes_foreground(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    labels = scenes.write_scenes(folder)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    for line in lines:
        mask = np.zeros((96, 96), np.uint8)
        for thing in line.pop("objects"):
            if thing["class"] == line["label"]:
                x0, y0, x1, y1 = thing["box"]
                mask[y0:y1, x0:x1] = 255
        line["mask"] = f"mask_{line['image']}"
        Image.fromarray(mask).save(folder / line["mask"])
    masked = folder / "masked.jsonl"
    masked.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    by_mask, by_box = audited(tmp_path / "masks", masked), audited(tmp_path / "boxes", labels)
    for found in (by_mask, by_box):  # what else is in the image, and so no control, the other boxes alone say
        del found["foreground"]["wrong"]["control_any_top1"], found["foreground"]["wrong"]["excess"]
    assert by_mask["foreground"] == by_box["foreground"]
    assert by_mask["error_causes"] == by_box["error_causes"]
    assert by_mask["pxap"] is not None
    assert by_box["pxap"] is None


def test_folders_of_classes_have_no_foreground_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onnx_gapmil.cli import main

    for entry in scenes.entries():
        folder = (
            tmp_path
            / "data"
            / (["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"][entry["label"]])
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / entry["image"]).write_bytes((scenes.SCENES / entry["image"]).read_bytes())
    assert main(["audit", str(scenes.MODEL), str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 0
    assert "No boxes or masks were given" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert (found["images"], found["foreground"], found["error_causes"], found["pointing_game"]) == (
        8,
        None,
        None,
        None,
    )
    labels = [entry["label"] for entry in scenes.entries()]
    assert found["top1"] == np.mean(scenes.vendor_answers().argmax(axis=1) == labels)


def test_a_model_of_one_logit_is_audited_as_two_classes(tmp_path: Path) -> None:
    scenes.one_logit_model(tmp_path / "red.onnx")
    colours = {"red": (200, 30, 30), "not red": (30, 200, 30)}
    for name, colour in colours.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for place in range(3):
            Image.new("RGB", (40, 32), colour).save(tmp_path / "data" / name / f"{place}.png")
    Image.new("RGB", (40, 32), colours["not red"]).save(tmp_path / "data" / "red" / "wrong.png")
    found = audited(tmp_path / "out", tmp_path / "data", tmp_path / "red.onnx")
    assert (found["images"], found["top1"]) == (7, 6 / 7)
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [row["prediction_name"] for row in rows if row["image"].endswith("wrong.png")] == ["not red"]
    # The logit of (200, 30, 30) is 8 (200 - 30) / 255; the sigmoid of it is the probability.
    assert rows[-1]["probability"] == pytest.approx(1 / (1 + np.exp(-8 * 170 / 255)), abs=1e-6)


def test_weights_of_its_own_for_each_cell_are_told_of_a_rewritten_file_too(tmp_path: Path) -> None:
    model = audited_reports.flattened_model(tmp_path)
    rewritten = tmp_path / "rewritten.onnx"
    rewrite(model, output=rewritten)
    for place, path in enumerate((model, rewritten)):
        recipe = model.with_suffix(".preprocess.json")
        found = audited(tmp_path / f"out{place}", scenes.SCENES, path, preprocess=str(recipe))
        assert found["head"]["position_dependent"] is True
        page = (tmp_path / f"out{place}" / "report.html").read_text("utf-8")
        assert "The head is position-dependent." in page
    plain = audited(tmp_path / "plain", scenes.SCENES)
    assert plain["head"]["position_dependent"] is False
    assert "The head is position-dependent." not in (tmp_path / "plain" / "report.html").read_text("utf-8")


def test_a_gallery_that_has_not_all_images_says_so(tmp_path: Path) -> None:
    audit(Request(model=scenes.MODEL, data=scenes.SCENES), tmp_path / "out", gallery=3)
    gallery = audited_reports.read_report(tmp_path / "out" / "report.html").gallery
    assert (gallery.total, gallery.shown, len(gallery.images)) == (8, 3, 3)
    assert gallery.note == "The 3 most telling of 8 images; --gallery N shows more."
    assert gallery.note in (tmp_path / "out" / "report.html").read_text("utf-8")


# --- labels, preprocessing --------------------------------------------------------------------------------------


def test_an_offset_that_only_answers_can_tell_is_found_and_announced(tmp_path: Path) -> None:
    """Labels from 1 to 9 fit ten classes as they are, and less one."""
    labels = scenes.write_scenes(tmp_path / "data", copies=2)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    kept = [
        {"image": line["image"], "labels": [thing["class"] + 1 for thing in line["objects"]]}
        for line in lines
        if all(thing["class"] + 1 <= 9 for thing in line["objects"])
    ]
    labels.write_text("\n".join(map(json.dumps, kept)), "utf-8")
    found = audited(tmp_path / "out", labels)
    assert found["class_map"]["offset"] == -1
    assert "found out by the model's answers" in found["class_map"]["source"]
    assert found["top1"] == 1.0


def test_an_offset_that_is_given_is_not_doubted(tmp_path: Path) -> None:
    found = audited(tmp_path / "out", scenes.write_scenes(tmp_path / "data"), offset=0)
    assert found["class_map"]["offset"] == 0
    assert "found out" not in found["class_map"]["source"]


def test_preprocessing_is_found_out_from_the_images(tmp_path: Path) -> None:
    """The file that states it is not beside this copy of the model."""
    model = tmp_path / "digits.onnx"
    model.write_bytes(scenes.MODEL.read_bytes())
    labels = scenes.write_scenes(tmp_path / "data", copies=3)
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    kept = [{"image": line["image"], "labels": [thing["class"] for thing in line["objects"]]} for line in lines]
    labels.write_text("\n".join(map(json.dumps, kept)), "utf-8")
    found = audited(tmp_path / "out", labels, model, preprocess="auto")
    assert np.allclose(found["preprocess"]["mean"], [0.485, 0.456, 0.406], atol=1e-3)
    assert found["preprocess_assumed"]
    assert found["top1"] == 1.0


# --- what fails -------------------------------------------------------------------------------------------------


def test_broken_images_are_named_counted_and_kept_out(tmp_path: Path) -> None:
    labels = scenes.write_scenes(tmp_path / "data", copies=2)
    (tmp_path / "data" / "00_scene_01.png").write_bytes(b"not a picture")
    (tmp_path / "data" / "00_scene_05.png").write_bytes((scenes.SCENES / "scene_05.png").read_bytes()[:900])
    lines = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    lines[3]["objects"][0]["box"] = [90, 90, 300, 300]
    labels.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    found = audited(tmp_path / "out", labels)
    assert (found["images"], found["failed"]) == (13, 3)
    assert [failure["image"] for failure in found["failures"]] == [
        "00_scene_01.png",
        "00_scene_03.png",
        "00_scene_05.png",
    ]
    rows = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert [row["image"] for row in rows if row["error"]] == [failure["image"] for failure in found["failures"]]
    whole = audited(tmp_path / "whole", scenes.write_scenes(tmp_path / "good"))
    assert rows[8]["probability"] == pq.read_table(tmp_path / "whole" / "images.parquet").to_pylist()[0]["probability"]
    assert whole["failed"] == 0


def test_no_image_that_can_be_measured_is_an_error(tmp_path: Path) -> None:
    labels = scenes.write_scenes(tmp_path / "data")
    for image in (tmp_path / "data").glob("*.png"):
        image.write_bytes(b"not a picture")
    with pytest.raises(InputError):
        audited(tmp_path / "out", labels)
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label": "penguin", "objects": []}, "penguin"),
        ({"label": 77, "objects": []}, "77"),
        ({"image": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_a_bad_data_set_gives_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], words: str
) -> None:
    from onnx_gapmil.cli import main

    labels = scenes.write_scenes(tmp_path / "data", **changed)
    assert main(["audit", str(scenes.MODEL), str(labels), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("Error: ")
    assert words in said[0]


def test_missing_and_empty_data_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for data in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(DataError, match=str(data)):
            audited(tmp_path / "out", data)


def test_a_head_that_is_refused_is_not_audited(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedHeadError):
        audited(tmp_path / "out", scenes.SCENES, scenes.SAMPLES / "digits_torch_vit.onnx")
    assert not (tmp_path / "out").exists()


def test_an_output_that_was_not_lifted_cannot_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'logits'"):
        audited(tmp_path / "out", scenes.SCENES, head="features")


# --- stop and go on ---------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for whatever stops a run."""


def stop_after(images: int) -> Any:
    def progress(now: Progress) -> None:
        if now.done >= images:
            raise StoppedError

    return progress


@pytest.mark.parametrize("images", [3, 9, 16])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path, images: int) -> None:
    request = Request(model=scenes.MODEL, data=scenes.write_scenes(tmp_path / "data", copies=2), batch=3)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "broken", progress=stop_after(images))
    assert not (tmp_path / "broken" / "summary.json").exists()
    resumed: list[int] = []
    audit(request, tmp_path / "broken", announce=lambda _, __, count, ___: resumed.append(count))
    audit(request, tmp_path / "whole")
    assert resumed == [-(-images // 3) * 3 if images < 16 else 16]
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_where_memory_and_disk_are_full_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(model=scenes.MODEL, data=scenes.write_scenes(tmp_path / "data", copies=2), batch=3)
    audit(request, tmp_path / "whole", gallery=0)
    monkeypatch.setattr(pieces, "_HELD", 0)
    monkeypatch.setattr(packed, "_PART", 4)
    real = pieces._nameless

    class Filling:
        """A file whose disk is full after three batches."""

        def __init__(self) -> None:
            self.file = real()
            self.seek, self.read, self.close = self.file.seek, self.file.read, self.file.close

        def write(self, data: memoryview) -> int:
            if measured(tmp_path / "out") >= 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

    monkeypatch.setattr(pieces, "_nameless", Filling)
    with pytest.raises(InputError, match=r"No space left on device\)\. Make room .* TMPDIR, and run the same command"):
        audit(request, tmp_path / "out", gallery=0)
    done = measured(tmp_path / "out")
    assert done >= 3
    monkeypatch.setattr(pieces, "_nameless", real)
    resumed: list[int] = []
    audit(request, tmp_path / "out", gallery=0, announce=lambda _, __, count, ___: resumed.append(count))
    assert resumed == [min(3 * done, 16)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def measured(folder: Path) -> int:
    """Batches in the journal of an unfinished run."""
    journal = folder / ".audit" / "batches.jsonl"
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal to one process there")
def test_ctrl_c_says_how_far_it_came_and_how_to_go_on(tmp_path: Path) -> None:
    data = scenes.write_scenes(tmp_path / "data", copies=4)
    command = held_at("02", "audit", scenes.MODEL, data, "--batch", "1", "-o", tmp_path / "stopped")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: measured(tmp_path / "stopped") > 3, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    told = re.search(r"^(\d+) of 32 images are measured: the same command goes on\.$", said, re.MULTILINE)
    assert told is not None
    # The signal may fall between an image's record and the line that says so.
    assert 3 <= int(told[1]) <= measured(tmp_path / "stopped") <= 16
    assert said.splitlines()[-1] == "Interrupted."


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    data = scenes.write_scenes(tmp_path / "data", copies=4)
    arguments = ["audit", str(scenes.MODEL), str(data), "--batch", "1", "-o"]
    command = held_at("02", *arguments, tmp_path / "killed")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: measured(tmp_path / "killed") > 3, process)
        process.kill()
    assert process.returncode != 0
    assert not (tmp_path / "killed" / "summary.json").exists()
    again = [sys.executable, "-m", "onnx_gapmil", *arguments]
    done = subprocess.run([*again, str(tmp_path / "killed")], capture_output=True, text=True, check=True)
    assert "were measured by an earlier run" in done.stderr
    subprocess.run([*again, str(tmp_path / "whole")], capture_output=True, check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_an_unfinished_run_of_another_audit_is_not_mixed_in(tmp_path: Path) -> None:
    data = scenes.write_scenes(tmp_path / "data")
    request = Request(model=scenes.MODEL, data=data, batch=2)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop_after(2))
    with pytest.raises(InputError, match=r"batch.*--restart"):
        audit(Request(model=scenes.MODEL, data=data, batch=4), tmp_path / "out")
    audit(Request(model=scenes.MODEL, data=data, batch=4), tmp_path / "out", restart=True)
    assert set(contents(tmp_path / "out")) == RESULTS


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"provider": "cpu"}, "another provider"),
        ({"head": "logits"}, "another head"),
        ({"offset": 0}, "another label offset"),
        ({"fast_decode": True}, r"another way to decode \(--fast-decode\)"),
    ],
)
def test_an_unfinished_run_with_another_request_is_not_mixed_in(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    request = Request(model=scenes.MODEL, data=scenes.write_scenes(tmp_path / "data"), batch=2)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop_after(2))
    with pytest.raises(InputError, match=words) as refused:
        audit(replace(request, **changed), tmp_path / "out")
    assert "provider in use" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "words"),
    [("used", "provider in use"), ("sha256", "model file"), ("version", "version of onnx-gapmil")],
)
def test_an_unfinished_run_under_other_conditions_is_not_mixed_in(tmp_path: Path, key: str, words: str) -> None:
    request = Request(model=scenes.MODEL, data=scenes.write_scenes(tmp_path / "data"), batch=2)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop_after(2))
    journal = tmp_path / "out" / ".audit" / "settings.json"
    settings = json.loads(journal.read_text("utf-8"))
    settings["request"][key] = "another"
    journal.write_text(json.dumps(settings), "utf-8")
    told: list[str] = []
    resumed: list[int] = []
    audit(request, tmp_path / "out", note=told.append, announce=lambda _, __, count, ___: resumed.append(count))
    assert told == [f"The audit begins anew, since there is another {words}."]
    assert resumed == [0]
    audit(request, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_journal_of_records_of_another_form_begins_anew_and_says_why(tmp_path: Path) -> None:
    """What an earlier version left: no form in its settings, and records without what is measured now."""
    request = Request(model=scenes.MODEL, data=scenes.write_scenes(tmp_path / "data"), batch=2)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop_after(2))
    journal = tmp_path / "out" / ".audit" / "settings.json"
    settings = json.loads(journal.read_text("utf-8"))
    del settings["request"]["form"]
    journal.write_text(json.dumps(settings), "utf-8")
    told: list[str] = []
    resumed: list[int] = []
    audit(request, tmp_path / "out", note=told.append, announce=lambda _, __, count, ___: resumed.append(count))
    assert (told, resumed) == (["The audit begins anew, since there is another form of its records."], [0])
    audit(request, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_columns_that_changed_make_other_slices_of_the_same_measures(tmp_path: Path) -> None:
    """Nothing that was measured depends on them: the run goes on, and ends as one that began with the new ones."""

    def change(data: Path) -> None:
        lines = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
        text = "".join(json.dumps({**line, "half": "ab"[place % 2]}) + "\n" for place, line in enumerate(lines))
        data.write_text(text, "utf-8")

    told, resumed = resumed_after(tmp_path, change)
    assert (told, resumed) == ([], 6)
    found = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert {value: part["images"] for value, part in found["slices"]["half"].items()} == {"a": 4, "b": 4}


def resumed_after(tmp_path: Path, change: Callable[[Path], None], **settings: Any) -> tuple[list[str], int]:
    """What is told, and how many images are taken over, where something changes while an audit is stopped; the result
    has to be that of a run which began after the change."""
    data = scenes.write_scenes(tmp_path / "data")
    request = Request(model=scenes.MODEL, data=data, batch=2, **settings)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop_after(6))
    change(data)
    told: list[str] = []
    resumed: list[int] = []
    audit(request, tmp_path / "out", note=told.append, announce=lambda _, __, count, ___: resumed.append(count))
    audit(request, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    return told, resumed[0]


def test_labels_that_changed_since_begin_anew(tmp_path: Path) -> None:
    def relabel(data: Path) -> None:
        data.write_text(data.read_text("utf-8").replace('"label": 9', '"label": 8'), "utf-8")

    (told,), resumed = resumed_after(tmp_path, relabel)
    assert told.startswith(
        "The audit begins anew, since the data set has changed: labels, boxes or masks are others of"
    )
    assert resumed == 0


def swap_first(data: Path) -> None:
    """Another picture under the first one's name."""
    images = sorted(data.parent.glob("*.png"))
    images[0].write_bytes(images[-1].read_bytes())


def test_an_image_that_changed_is_measured_again_with_its_batch(tmp_path: Path) -> None:
    (told,), resumed = resumed_after(tmp_path, swap_first, offset=0)
    assert told == "Measured again, since they changed: 00_scene_00.png."
    assert resumed == 4


def test_an_image_that_was_only_touched_is_not_measured_again(tmp_path: Path) -> None:
    def touch(data: Path) -> None:
        for image in data.parent.glob("*.png"):
            os.utime(image, (1, 1))

    assert resumed_after(tmp_path, touch) == ([], 6)


def test_an_image_whose_time_was_set_back_is_noticed(tmp_path: Path) -> None:
    def change(data: Path) -> None:
        image = min(data.parent.glob("*.png"))
        before = image.stat()
        content = bytearray(image.read_bytes())
        content[-20] ^= 1
        image.write_bytes(bytes(content))
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))

    (told,), resumed = resumed_after(tmp_path, change, offset=0)
    assert told.startswith("Measured again, since they changed: ")
    assert resumed == 4


def test_where_the_images_decided_how_they_are_read_a_change_begins_anew(tmp_path: Path) -> None:
    (told,), resumed = resumed_after(tmp_path, swap_first, preprocess="auto")
    assert "the images may have decided how they are to be read" in told
    assert resumed == 0


def test_an_image_that_is_gone_counts_as_failed(tmp_path: Path) -> None:
    (told,), resumed = resumed_after(tmp_path, lambda data: min(data.parent.glob("*.png")).unlink(), offset=0)
    assert told.startswith("Measured again, since they changed: ")
    assert resumed == 4
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert summary["failed"] == 1
    assert "no such file" in json.dumps(summary["failures"])


def test_an_image_that_left_its_folder_counts_as_failed(tmp_path: Path) -> None:
    """In folders of classes an image that is gone is not listed any more; the unfinished audit still knows it."""
    for place, scene in enumerate(sorted(scenes.SCENES.glob("*.png"))[:6]):
        (tmp_path / "data" / str(place % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(scene, tmp_path / "data" / str(place % 2))
    request = Request(model=scenes.MODEL, data=tmp_path / "data", batch=2, offset=0)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop_after(4))
    gone = min((tmp_path / "data" / "1").iterdir())
    gone.unlink()
    told: list[str] = []
    summary = audit(request, tmp_path / "out", note=told.append)
    assert told[0] == f"Counted as failed, since they are gone: 1/{gone.name}."
    assert summary.failed == 1
    assert [failure.image for failure in summary.failures] == [f"1/{gone.name}"]


def test_two_audits_do_not_write_into_one_folder(tmp_path: Path) -> None:
    data = scenes.write_scenes(tmp_path / "data")
    request = Request(model=scenes.MODEL, data=data, batch=2)
    second: list[str] = []

    def again(_: Progress) -> None:
        if not second:
            with pytest.raises(InputError) as refused:
                audit(request, tmp_path / "out")
            second.append(str(refused.value))

    audit(request, tmp_path / "out", progress=again)
    assert second[0].startswith(f"{tmp_path / 'out'}: another audit is writing into this folder")
    audit(request, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_json_is_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onnx_gapmil.cli import main

    data = scenes.write_scenes(tmp_path / "data")
    assert main(["audit", str(scenes.MODEL), str(data), "-o", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
