"""Whole comparisons of digit models, against ONNX Runtime and NumPy alone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import binomtest

from onnx_gapmil import Classifier, Comparison, DataError, InputError, UnsupportedHeadError, compare
from onnx_gapmil.files.locking import locked_folder
from tests.helpers.compared import Vendor, changed_model, lines_of, softmax, vendor, write_data
from tests.helpers.scene_data import MODEL

SAMPLES = MODEL.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return changed_model(tmp_path_factory.mktemp("new"))


@pytest.fixture(scope="module")
def results(data: Path, new: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    compare(MODEL, new, data, folder)
    return folder


@pytest.fixture(scope="module")
def found(results: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / "compare.json").read_text("utf-8"))
    return content


@pytest.fixture(scope="module")
def truth(data: Path, new: Path) -> tuple[Vendor, Vendor, np.ndarray]:
    named = np.array([[digit == line["label"] for digit in range(10)] for line in lines_of(data)])
    return vendor(MODEL, data), vendor(new, data), named


def test_agreement_and_flips_are_those_of_the_vendors_answers(
    found: dict[str, Any], truth: tuple[Vendor, Vendor, np.ndarray]
) -> None:
    old, new, _ = truth
    first, second = old.logits.argmax(1), new.logits.argmax(1)
    assert found["images"] == len(first) == 24
    assert 0 < found["flips"]["count"] == int((first != second).sum()) < 24
    assert found["agreement"]["top1"] == pytest.approx((first == second).mean())
    fives = [np.argsort(-each.logits, axis=1, kind="stable")[:, :5] for each in (old, new)]
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(*fives, strict=True)]
    assert found["agreement"]["top5"] == pytest.approx(np.mean(shared))


def test_fixed_and_broken_are_paired_with_the_labels(
    found: dict[str, Any], truth: tuple[Vendor, Vendor, np.ndarray]
) -> None:
    old, new, named = truth
    right = [named[np.arange(len(named)), each.logits.argmax(1)] for each in (old, new)]
    fixed, broken = int((~right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())
    assert (found["flips"]["fixed"], found["flips"]["broken"]) == (fixed, broken)
    expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert found["flips"]["mcnemar_p"] == pytest.approx(expected)
    accuracy = found["accuracy"]
    assert (accuracy["old"], accuracy["new"]) == (pytest.approx(right[0].mean()), pytest.approx(right[1].mean()))
    assert accuracy["difference"] == pytest.approx((fixed - broken) / len(named))
    assert accuracy["interval"][0] <= accuracy["difference"] <= accuracy["interval"][1]


def test_drift_is_that_of_the_vendors_numbers(found: dict[str, Any], truth: tuple[Vendor, Vendor, np.ndarray]) -> None:
    old, new, _ = truth
    gaps = np.abs(new.logits - old.logits)
    assert found["drift"]["logits"] == {"mean": pytest.approx(gaps.mean(), rel=1e-5), "max": pytest.approx(gaps.max())}
    gaps = np.abs(softmax(new.logits) - softmax(old.logits))
    assert found["drift"]["probabilities"]["mean"] == pytest.approx(gaps.mean(), rel=1e-4)
    assert found["drift"]["probabilities"]["max"] == pytest.approx(gaps.max(), rel=1e-4)


def evidence(grid: np.ndarray, answer: int) -> np.ndarray:
    """The share of the evidence for an answer in each cell, from the definition."""
    above = np.maximum(grid[answer] - grid.mean(axis=0), 0)
    result: np.ndarray = above / above.sum()
    return result


def test_grids_are_compared_by_the_vendors_head_cell_by_cell(
    found: dict[str, Any], truth: tuple[Vendor, Vendor, np.ndarray]
) -> None:
    old, new, _ = truth
    assert found["grids"]["averaged"] == 0
    winners = (old.grid.argmax(1) != new.grid.argmax(1)).mean(axis=(1, 2))
    assert found["grids"]["winners_changed"] == pytest.approx(winners.mean(), abs=1e-9)
    moved = [
        np.abs(evidence(b, logits_b.argmax()) - evidence(a, logits_a.argmax())).sum() / 2
        for a, logits_a, b, logits_b in zip(old.grid, old.logits, new.grid, new.logits, strict=True)
    ]
    assert found["grids"]["moved"]["share"] == pytest.approx(np.mean(moved), abs=1e-5)
    correlations = []
    for a, b in zip(old.grid.reshape(24, 10, -1), new.grid.reshape(24, 10, -1), strict=True):
        flat = [(each - each.mean(0) - each.mean(1, keepdims=True) + each.mean()).ravel() for each in (a, b)]
        correlations.append(np.corrcoef(*flat)[0, 1])
    assert found["grids"]["correlation"] == pytest.approx(np.mean(correlations), abs=1e-6)


def test_evidence_that_comes_onto_the_object_is_told_from_what_leaves_it(
    found: dict[str, Any], data: Path, truth: tuple[Vendor, Vendor, np.ndarray], results: Path
) -> None:
    old, new, _ = truth
    rows = pq.read_table(results / "images.parquet").to_pylist()
    gained = np.array([row["moved_onto_object"] for row in rows])
    expected = []
    for line, a, la, b, lb in zip(lines_of(data), old.grid, old.logits, new.grid, new.logits, strict=True):
        photo = np.zeros((96 * 20, 96 * 20), dtype=bool)
        for thing in line["objects"]:
            if thing["class"] != line["label"]:
                continue
            x0, y0, x1, y1 = (round(edge * 20) for edge in thing["box"])
            photo[y0:y1, x0:x1] = True
        expected.append((evidence(b, lb.argmax()) - evidence(a, la.argmax()), photo))
    geometry = cell_edges_of_model()
    for row, (change, photo) in enumerate(expected):
        inside = np.zeros((12, 12))
        for i in range(12):
            for j in range(12):
                y0, y1 = (int(np.clip(edge * 20, 0, 1920)) for edge in (geometry[0][i], geometry[0][i + 1]))
                x0, x1 = (int(np.clip(edge * 20, 0, 1920)) for edge in (geometry[1][j], geometry[1][j + 1]))
                inside[i, j] = photo[y0:y1, x0:x1].mean() if y1 > y0 and x1 > x0 else 0.0
        assert gained[row] == pytest.approx((change * inside).sum(), abs=0.02)
    moved = found["grids"]["moved"]
    assert moved["onto_object"] == pytest.approx(np.maximum(gained, 0).mean())
    assert moved["off_object"] == pytest.approx(np.maximum(-gained, 0).mean())


def cell_edges_of_model() -> tuple[np.ndarray, np.ndarray]:
    """Where the model's cells begin and end in a photo of 96 pixels, from the record of its places."""
    places = Classifier(MODEL).head.places
    assert places.rows is not None
    assert places.columns is not None
    steps = np.arange(13) - 0.5
    return places.rows.first + places.rows.step * steps, places.columns.first + places.columns.step * steps


def test_slices_hold_the_figures_of_their_images(
    found: dict[str, Any], data: Path, truth: tuple[Vendor, Vendor, np.ndarray]
) -> None:
    old, new, _ = truth
    flips = old.logits.argmax(1) != new.logits.argmax(1)
    lights = np.array([line["light"] for line in lines_of(data)])
    for light in ("day", "dusk", "night"):
        part = found["slices"]["light"][light]
        assert part["images"] == (lights == light).sum() == 8
        assert part["flips"]["count"] == flips[lights == light].sum()
    digits = found["slices"]["class"]
    assert sum(part["images"] for part in digits.values()) == len(lines_of(data))
    seven = np.array([line["label"] == 7 for line in lines_of(data)])
    assert digits["seven"]["flips"]["count"] == flips[seven].sum()


def test_the_table_has_a_row_for_each_image(results: Path, found: dict[str, Any], data: Path) -> None:
    table = pq.read_table(results / "images.parquet")
    assert table["image"].to_pylist() == [line["image"] for line in lines_of(data)]
    assert table["agree"].to_pylist().count(False) == found["flips"]["count"]
    assert sum(table["broken"].to_pylist()) == found["flips"]["broken"]
    assert dict(table["slices"].to_pylist()[0])["light"] == "day"
    classes = pq.read_table(results / "classes.parquet").to_pylist()
    assert {row["name"] for row in classes} <= set((SAMPLES / "digits_torch_legacy.labels.txt").read_text().split())


def test_swapping_mirrors_every_figure(found: dict[str, Any], data: Path, new: Path, tmp_path: Path) -> None:
    back = compare(new, MODEL, data, tmp_path / "back").to_json()
    assert back["agreement"] == found["agreement"]
    assert back["drift"] == found["drift"]
    assert back["flips"]["fixed"] == found["flips"]["broken"]
    assert back["flips"]["broken"] == found["flips"]["fixed"]
    assert back["flips"]["mcnemar_p"] == found["flips"]["mcnemar_p"]
    for key in ("accuracy", "accuracy_top5"):
        low, high = found[key]["interval"]
        assert back[key]["interval"] == [-high, -low]
        assert back[key]["difference"] == -found[key]["difference"]
        assert (back[key]["old"], back[key]["new"]) == (found[key]["new"], found[key]["old"])
    there, here = found["grids"], back["grids"]
    assert (here["correlation"], here["winners_changed"]) == (there["correlation"], there["winners_changed"])
    assert here["moved"]["share"] == there["moved"]["share"]
    assert here["moved"]["onto_object"] == pytest.approx(there["moved"]["off_object"], abs=1e-15)
    assert here["moved"]["off_object"] == pytest.approx(there["moved"]["onto_object"], abs=1e-15)
    assert here["moved"]["net"] == pytest.approx(-there["moved"]["net"], abs=1e-15)
    assert there["moved"]["net"] == pytest.approx(
        there["moved"]["onto_object"] - there["moved"]["off_object"], abs=1e-15
    )
    low, high = found["intervals"]["grids.moved.net"]
    assert low <= there["moved"]["net"] <= high
    assert back["intervals"]["grids.moved.net"] == pytest.approx([-high, -low], abs=1e-15)


@pytest.mark.parametrize("aggregator", ["mean", "max", "lse=10", "noisy_or", "prob_mean", "topk=0.1"])
def test_an_aggregator_compared_with_itself_gives_nothing_everywhere(
    aggregator: str, data: Path, tmp_path: Path
) -> None:
    same = compare(MODEL, MODEL, data, tmp_path / "same", aggregator=aggregator, gallery=2)
    assert same.same
    assert (same.flips.count, same.flips.fixed, same.flips.broken, same.flips.mcnemar_p) == (0, 0, 0, 1.0)
    assert (same.agreement.top1, same.agreement.top5) == (1.0, 1.0)
    assert same.accuracy is not None
    assert (same.accuracy.difference, same.accuracy.interval) == (0.0, (0.0, 0.0))
    assert (same.drift.logits.max, same.drift.probabilities.max) == (0.0, 0.0)
    moved = same.grids.moved
    assert (same.grids.winners_changed, moved.share, moved.onto_object, moved.off_object) == (0.0, 0.0, 0.0, 0.0)
    assert same.grids.correlation == 1.0


def test_two_aggregators_of_one_model_have_one_grid_and_two_answers(
    data: Path, tmp_path: Path, truth: tuple[Vendor, Vendor, np.ndarray]
) -> None:
    found = compare(MODEL, MODEL, data, tmp_path / "max", aggregator_new="max")
    old = truth[0]
    flips = old.logits.argmax(1) != old.grid.max(axis=(2, 3)).argmax(1)
    assert found.flips.count == flips.sum() > 0
    assert found.grids.winners_changed == 0.0
    assert not found.same


def test_photos_without_labels_are_compared_without_them(data: Path, new: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for line in lines_of(data)[:5]:
        shutil.copy(data / line["image"], photos)
    found = compare(MODEL, new, photos, tmp_path / "out")
    assert (found.images, found.accuracy, found.flips.fixed, found.flips.mcnemar_p) == (5, None, None, None)
    assert found.notes == ("No labels were found: which answers are right is not known.",)
    assert not (tmp_path / "out" / "classes.parquet").exists()
    asked = compare(MODEL, new, data, tmp_path / "asked", unlabelled=True)
    assert asked.images == 24
    assert asked.accuracy is None


def test_an_image_that_cannot_be_read_is_kept_out_of_both(data: Path, new: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    (copy / lines_of(data)[3]["image"]).write_bytes(b"no image")
    found = compare(MODEL, new, copy, tmp_path / "out")
    assert (found.images, found.failed) == (23, 1)
    assert lines_of(data)[3]["image"] in found.failures[0].image


def test_no_image_in_common_and_no_image_at_all_are_one_sentence(data: Path, new: Path, tmp_path: Path) -> None:
    maps = []
    for part in (range(5), range(5, 10)):
        file = tmp_path / f"map{part.start}.json"
        file.write_text(json.dumps({str(digit): digit if digit in part else None for digit in range(10)}))
        maps.append(file)
    single = tmp_path / "single"
    shutil.copytree(data, single)
    lines = [{**line, "label": line["objects"][0]["class"], "objects": []} for line in lines_of(data)]
    (single / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match="no image has a label that both models know"):
        compare(MODEL, new, single, tmp_path / "out", class_map=maps[0], class_map_new=maps[1])
    for line in lines:
        (single / line["image"]).write_bytes(b"")
    with pytest.raises(DataError, match="Not one of the 24 images could be compared"):
        compare(MODEL, new, single, tmp_path / "out2")


def test_labels_that_do_not_fit_name_the_option_of_the_new_model(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text('{"0": 0}')
    with pytest.raises(DataError, match=r"For the new model: .*--class-map-new"):
        compare(MODEL, changed_model(tmp_path / "new"), data, tmp_path / "out", class_map_new=file)


def test_a_folder_that_is_a_file_is_refused_before_anything_is_run(data: Path, new: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        compare(MODEL, new, data, tmp_path / "out")


def test_a_refused_head_is_told_with_its_model(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedHeadError, match=r"of the new model, .*digits_torch_vit\.onnx: "):
        compare(MODEL, SAMPLES / "digits_torch_vit.onnx", data, tmp_path / "out")


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_run_that_is_killed_goes_on_and_ends_the_same(data: Path, new: Path, results: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from onnx_gapmil import compare\n"
        "compare(*sys.argv[1:4], sys.argv[4], progress=lambda done, total: print(done, flush=True))"
    )
    folder = tmp_path / "killed"
    for kill_at in (8, 16):
        command = [sys.executable, "-c", code, str(MODEL), str(new), str(data), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line) >= kill_at:
                    child.send_signal(signal.SIGKILL)
                    break
            child.wait()
        time.sleep(0.05)
    left = (folder / ".compare").exists()  # a kill may come when all is done
    resumed: list[int] = []
    compare(MODEL, new, data, folder, progress=lambda done, total: resumed.append(done))
    assert not left or resumed in ([], [24])
    assert read(folder) == read(results)
    assert not (folder / ".compare").exists()


def test_a_run_of_another_model_is_not_gone_on_with(data: Path, new: Path, tmp_path: Path) -> None:
    from onnx_gapmil.validation.comparing.compare import compare as run
    from onnx_gapmil.validation.comparing.request import CompareRequest, Side

    folder = tmp_path / "out"
    said: list[tuple[int, str]] = []

    def request(model: Path) -> CompareRequest:
        return CompareRequest(old=Side(model=MODEL), new=Side(model=model), data=data)

    class StoppedError(Exception):
        pass

    def stop(_: Any) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        run(request(new), folder, progress=stop)
    other = changed_model(tmp_path / "other", size=0.4)
    found = run(request(other), folder, announce=lambda _, resumed, __, why: said.append((resumed, why)))
    assert said[0][0] == 0
    assert "new model file" in said[0][1]
    fresh = run(request(other), tmp_path / "fresh")
    assert isinstance(fresh, Comparison)
    assert found.to_json() == fresh.to_json()


def test_two_comparisons_do_not_write_into_one_folder_and_nothing_read_is_written_over(
    data: Path, new: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    with locked_folder(folder, "another comparison"), pytest.raises(InputError, match="another comparison is writing"):
        compare(MODEL, new, data, folder)
    folder.mkdir(exist_ok=True)
    names = folder / "compare.json"
    shutil.copy(MODEL.with_suffix(".labels.txt"), names)
    before = names.read_bytes()
    with pytest.raises(InputError, match=r"compare\.json"):
        compare(MODEL, new, data, folder, names=names)
    assert names.read_bytes() == before


def test_what_failed_altogether_is_said_of_slices_and_grids(data: Path, new: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    lines = lines_of(copy)
    lost = [line for line in lines if line["light"] == "night" or line["label"] == 7]
    for line in lost:
        (copy / line["image"]).write_bytes(b"no image")
    content = compare(MODEL, new, copy, tmp_path / "out", gallery=0).to_json()
    assert content["slice_columns"]["light"]["unjudged"] == {"night": 8}
    assert content["slice_columns"]["class"]["unjudged"]["seven"] == sum(line["label"] == 7 for line in lines)
    assert not set(content["slice_columns"]["class"]["unjudged"]) & set(content["slices"]["class"])
    assert content["counts"]["grids.moved.onto_object"] == content["grids"]["with_object"]


def test_large_jpegs_may_be_decoded_smaller_and_the_results_say_so(new: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    Image.fromarray(rng.integers(0, 256, (1200, 1600, 3), np.uint8)).save(tmp_path / "large.jpg", quality=95)
    photos = tmp_path / "large.jpg"
    exact, fast = (
        compare(MODEL, new, photos, tmp_path / f"fast_{wanted}", unlabelled=True, fast_decode=wanted)
        for wanted in (False, True)
    )
    assert not any("--fast-decode" in note for note in exact.notes)
    assert any("--fast-decode" in note for note in fast.notes)
    assert exact.drift.logits.mean != fast.drift.logits.mean
    # One image has one drift, which bounds nothing: no interval of no width stands for one that is not known.
    assert "drift.logits.mean" not in exact.intervals
    assert exact.intervals["drift.probabilities.mean"][0] < exact.intervals["drift.probabilities.mean"][1]
