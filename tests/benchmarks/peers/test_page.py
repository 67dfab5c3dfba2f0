"""The page and the chart of `benchmarks.peers`, made from a run that was never measured."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
RATIOS = [1.02, 1.03, 1.01, 1.06, 1.00]


def peer(plain: float, **ratio: list[float]) -> dict[str, Any]:
    with_maps = {name: [plain * value for value in values] for name, values in ratio.items()}
    return {"cannot": {}, "plain": [plain] * 5, "with_maps": with_maps, "ratio": ratio}


def case(size: int, batch: int) -> dict[str, Any]:
    openvino: dict[str, Any] = peer(40.0, ReciproCAM=[1.5] * 5)
    if batch > 1:
        openvino = {"cannot": {"ReciproCAM": "made for one"}, "plain": [], "with_maps": {}, "ratio": {}}
    peers = {
        "onnx_gapmil": peer(50.0, grid=RATIOS, topk=[1.001] * 5, **{"one class": [0.999] * 5}),
        "openvino_xai": openvino,
        "torch_cam": peer(60.0, **{"CAM, one class": [1.1] * 5, "CAM, all classes": [2.5] * 5}),
        "grad_cam": peer(70.0, **{"Grad-CAM, one class": [3.0] * 5, "Eigen-CAM, no class": [12.25] * 5}),
    }
    return {"threads": 1, "size": size, "batch": batch, "rounds": 5, "load": 0.5, "peers": peers}


def run() -> dict[str, Any]:
    lifts = {"answer": "map", "detail": "exact", "shape": [1, 10, 7, 7], "additivity": 3e-7, "said": []}
    wrong = {**lifts, "detail": "layers named", "additivity": 0.75, "said": ["info: hello", "warning: layer4 taken"]}
    tools = ("onnx_gapmil", "openvino_xai", "torch_cam", "grad_cam")
    heads = ("resnet18", "mobilenet_v3", "max_pooled", "vgg", "vit")
    answers = {tool: dict.fromkeys(heads, lifts if tool == "onnx_gapmil" else wrong) for tool in tools}
    answers["onnx_gapmil"]["vit"] = {"answer": "refused", "detail": "class-token: it reads one", "said": []}
    answers["torch_cam"]["vgg"] = {"answer": "failed", "detail": "ValueError: too many", "said": []}
    return {
        "date": "2026-01-02",
        "minutes": 3.5,
        "machine": "a machine",
        "python": "3.11.0",
        "versions": {"torch": "2.0"},
        "clock": "wall",
        "cases": [case(size, batch) for batch in (1, 8) for size in (224, 448)],
        "parity": {"224": {"maps": 1e-6}, "448": {"maps": 2e-6}},
        "bytes": {tool: {"224": [100, 101], "448": [100, 400]} for tool in ("onnx_gapmil", "openvino_xai")},
        "heads": answers,
        "memory": [
            {"tool": tool, "size": size, "peak_mb": {"plain": 100.0, "x": 200.0}}
            for tool in tools
            for size in (224, 448)
        ],
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("peers")
    (place / "peers-work").mkdir()
    (place / "peers-work" / "results.json").write_text(json.dumps(run()), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.peers", "--report", "--place", str(place)]
    command += ["--markdown", str(place / "peers.md"), "--plot", str(place / "peers.svg")]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (place / "text").write_text(ran.stdout, encoding="utf-8")
    return place


def row(page: str, *starts: str) -> list[str]:
    """The cells of the first table row that begins so."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {' | '.join(starts)} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][len(starts) :]


def test_a_ratio_is_the_median_over_rounds_with_its_quartiles(made: Path) -> None:
    low, middle, high = np.quantile(RATIOS, [0.25, 0.5, 0.75])
    cells = row((made / "peers.md").read_text("utf-8"), "onnx-gapmil", "full grid")
    assert cells[:3] == ["all", "50.0 ms, 51.0 ms", f"**×{middle:.3f}** ({low:.3f} to {high:.3f})"]


def test_grad_cam_of_all_classes_is_a_thousand_calls(made: Path) -> None:
    page = (made / "peers.md").read_text("utf-8")
    assert row(page, "pytorch-grad-cam", "Grad-CAM, 1000 calls")[1:3] == [
        "70.0 ms, 210 s",
        "**×3,000** (3,000 to 3,000)",
    ]


def test_what_a_tool_cannot_do_is_said_with_its_reason(made: Path) -> None:
    page = (made / "peers.md").read_text("utf-8")
    assert "### 1 thread, batch 8" in page
    eight = page.partition("### 1 thread, batch 8")[2]
    assert row(eight, "OpenVINO XAI", "ReciproCAM") == ["all", "cannot", "", "cannot", ""]
    assert "- OpenVINO XAI at batch 8: made for one." in page


def test_heads_show_refusals_errors_and_maps_that_do_not_add_up(made: Path) -> None:
    page = (made / "peers.md").read_text("utf-8")
    assert row(page, "ViT: class token")[0] == "**refused**: class-token"
    vgg = row(page, "VGG-11: flattened map, three linear layers with ReLU")
    assert vgg[0] == "exact; adds up (3e-07)"
    assert vgg[1] == "a map, **off by 0.75**, no warning"
    assert vgg[2] == "an error"
    assert "- torch-cam, vgg: ValueError: too many" in page
    assert "- OpenVINO XAI: layer4 taken" in page
    assert "hello" not in page


@pytest.mark.parametrize("name", ["peers.svg", "peers-dark.svg"])
def test_chart_places_ratios_on_a_logarithmic_axis(made: Path, name: str) -> None:
    root = ET.parse(made / name).getroot()  # noqa: S314 - our own file
    circles = [entry for entry in root.iter("{http://www.w3.org/2000/svg}circle") if float(entry.get("cy", 0)) > 100]
    assert len(circles) == 18
    at = [float(entry.get("cx", "nan")) for entry in circles[::2]]
    extra = [0.02, 0.5, 1.5, 2999.0]  # full grid, ReciproCAM, CAM of all, Grad-CAM of all
    steps = np.diff(at[:4]) / np.diff(np.log10(extra))
    assert np.allclose(steps, steps[0], rtol=0.01)
    assert min(at) == at[5] < at[0]  # classes: below the axis' least, at its left end


def test_light_and_dark_differ_in_colours_alone(made: Path) -> None:
    light, dark = ((made / name).read_text("utf-8") for name in ("peers.svg", "peers-dark.svg"))
    assert light != dark
    for color in ("#ffffff", "#1b1f24"):
        assert color in light
        assert color not in dark


def test_terminal_says_the_same(made: Path) -> None:
    text = (made / "text").read_text("utf-8")
    line = next(line for line in text.splitlines() if "full grid" in line)
    assert line.split() == [
        "onnx-gapmil",
        "full",
        "grid",
        "50.0",
        "ms",
        "51.0",
        "ms",
        "x1.020",
        "(1.010",
        "to",
        "1.030)",
    ]
