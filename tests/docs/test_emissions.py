"""docs/emissions.md lists what can be emitted, and aggregated, as it is."""

from __future__ import annotations

import re
from pathlib import Path

import onnxruntime

from onnx_gapmil import rewrite
from onnx_gapmil.aggregate import AGGREGATORS

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_of_the_table_of_emissions_is_what_the_graph_gives(tmp_path: Path) -> None:
    """Asks for all that the page lists, on a real model, and reads each output's shape and type from the session."""
    text = (ROOT / "docs" / "emissions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S.*?)? ?\| `(gapmil_\S+)` \| \((.*?)\) \| (.*?) \|", text, re.MULTILINE)
    wishes = [word.strip("`") for word, *_ in rows if word.startswith("`")]
    made = rewrite(ROOT / "sample_models" / "digits_torch_legacy.onnx", tmp_path / "all.onnx", emit=",".join(wishes))
    session = onnxruntime.InferenceSession(made.output_path, providers=["CPUExecutionProvider"])
    axes = {"N": "batch", "K": 10, "C": 64, "H": 12, "W": 12}
    types = {"the model's": "tensor(float)", "float32": "tensor(float)", "int64": "tensor(int64)"}
    listed = {
        name: ([axes.get(axis.strip()) or int(axis) for axis in shape.split(",")], types[kind])
        for _, name, shape, kind in rows
    }
    given = {value.name: (value.shape, value.type) for value in session.get_outputs()[1:]}
    assert len(rows) == 11
    assert listed == given


def test_the_page_of_emissions_lists_every_aggregator_with_its_default() -> None:
    text = (ROOT / "docs" / "emissions.md").read_text(encoding="utf-8").split("## Aggregators")[1]
    listed = {
        name: float(default) if default else None
        for name, default in re.findall(r"^\| `(\w+)(?:=\w)?` \|.*?\| (?:[rs] = ([\d.]+))?", text, re.MULTILINE)
    }
    assert listed == {name: aggregator.parameter for name, aggregator in AGGREGATORS.items()}
