"""What the page of FlexPooling makes of figures: means over seeds with their interval, differences paired by seed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import flexpooling
from tests.helpers import scene_data

#: Student's 97.5th percentile with two degrees of freedom, from a printed table.
T2 = 4.303


def net(present: float, **changed: Any) -> dict[str, Any]:
    head = {
        "present": present,
        "single": present,
        "label": 0.5,
        "loss": 1.0,
        "grid": [12, 12],
        "pool_weights": [],
        "wrong": 400,
        "recovered": 0.9,
        "control": 0.2,
        "excess": 0.7,
        "found": 0.8,
        "pointing": 0.9,
        "pointing_centre": 0.1,
        "boxes": 0.5,
        "boxes_centre": 0.03,
        "half": 0.4,
    }
    return {"outputs": {"logits": {**head, **changed}}}


def test_interval_over_three_seeds_is_students() -> None:
    assert flexpooling.half_width([1.0, 2.0, 6.0]) == pytest.approx(T2 * np.sqrt(7 / 3), rel=1e-3)
    assert flexpooling.over_seeds([0.91, 0.92, 0.93]) == "92.0 ± 2.5"
    assert flexpooling.over_seeds([0.5]) == "50.0"


def test_differences_are_paired_by_the_seeds_that_both_have() -> None:
    found = {
        "mean": {0: net(0.90, loss=1.0), 1: net(0.95, loss=1.5), 2: net(0.1)},
        "mean_dropout": {0: net(0.91, loss=1.5), 1: net(0.96, loss=2.0)},
        "position": {0: net(0.90), 1: net(0.97)},
    }
    rows = flexpooling.difference_table(found)[2:]
    assert rows == [
        "| mean, dropout | mean | +1.0 ± 0.0 | +1.0 ± 0.0 | +0.50 ± 0.00 |",
        "| by position, penalty, dropout | mean, dropout | +0.0 ± 12.7 | +0.0 ± 12.7 | -0.75 ± 3.18 |",
        "| by position, penalty, dropout | mean | +1.0 ± 12.7 | +1.0 ± 12.7 | -0.25 ± 3.18 |",
    ]
    assert "| mean, dropout | 93.5 ± 31.8 | 93.5 ± 31.8 | 50.0 ± 0.0 | 1.75 ± 3.18 |" in flexpooling.accuracy_table(
        found
    )


def test_a_page_has_a_row_for_each_stage_and_the_weights_of_all_seeds() -> None:
    pools = [
        {"map": [[0.5, 0.5, 0.5], [0.5, 5.0, 0.5], [0.5, 0.5, 0.5]], "least": -1, "largest": 5, "below_zero": 0.25},
        {"map": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], "least": -2, "largest": 1, "below_zero": 0.75},
    ]
    nets = {seed: net(0.9, pool_weights=[{**pool, "sums": [0.9, 1.0 + seed]}]) for seed, pool in enumerate(pools)}
    for found in nets.values():
        found["outputs"]["stage1"] = {**found["outputs"]["logits"], "grid": [48, 48], "pool_weights": []}
    lines = flexpooling.page({"channel_sac": nets}, 1000, "command")
    name = flexpooling.VARIANTS["channel_sac"]
    assert sum(line.startswith(f"| {name} | 1 | 48x48 |") for line in lines) == 1
    assert f"| {name} | last | -2.00 | 5.00 | 50.0 | 0.90 to 2.00 | 0.71 | 0.75 |" in lines


def test_figures_of_a_net_are_the_files_own_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for end in (".onnx", ".preprocess.json"):
        source = scene_data.SAMPLES / f"digits_torch_flex_channel_sac{end}"
        (tmp_path / f"channel_sac_0{end}").write_bytes(source.read_bytes())
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    logits = flexpooling.answers(tmp_path / "channel_sac_0.onnx", images)
    first = {name: rows.argmax(axis=1) for name, rows in logits.items()}
    assert sorted(first) == ["logits", "stage1", "stage2"]
    present = np.zeros((3, 10), np.bool_)
    present[0, first["stage1"][0]] = True
    scenes = SimpleNamespace(images=images, labels=first["logits"], present=present)
    monkeypatch.setattr(flexpooling, "audited", lambda *_: {})
    found = flexpooling.measure(tmp_path / "channel_sac_0.onnx", tmp_path, scenes, scenes)
    assert (found["outputs"]["logits"]["label"], found["outputs"]["logits"]["single"]) == (1.0, 1.0)
    assert found["outputs"]["stage1"]["present"] == pytest.approx(1 / 3)
    exact = logits["logits"].astype(np.float64)
    loss = np.log(np.exp(exact).sum(axis=1)) - exact.max(axis=1)
    assert found["outputs"]["logits"]["loss"] == pytest.approx(loss.mean(), rel=1e-9)
    assert json.loads((tmp_path / "figures" / "channel_sac_0.json").read_text("utf-8")) == found
    monkeypatch.setattr(flexpooling, "answers", None)  # they are read, not measured again
    assert flexpooling.measure(tmp_path / "channel_sac_0.onnx", tmp_path, scenes, scenes) == found
