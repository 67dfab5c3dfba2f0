"""What ``inspect`` says of a file: its facts as they were written, and what each whole-map pool is for."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper
from rich.console import Console

from onnx_gapmil import inspect
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.saving import save_model
from onnx_gapmil.show.terminal.inspection_note import inspection_note
from tests.helpers.support import text_model, weights

HEAD = "p = GlobalAveragePool(f)  q = Flatten(p)  y = Gemm<transB=1>(q, d, b)"
INIT = {"d": weights(5, 6), "b": weights(5)}


def test_the_facts_of_the_file_are_those_that_were_written(tmp_path: Path) -> None:
    model = text_model(f"f = Relu(x)  {HEAD}", x="float16[batch,6,3,5] x", y="float16[batch,5] y", init=None)
    for name, array in INIT.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float16), name))
    model.producer_name, model.producer_version = "vendor", "3.1"
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    found = inspect(path)
    assert (found.model, found.size) == (str(path), path.stat().st_size)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.exporter, found.ir_version, found.opsets) == ("vendor 3.1", 8, {"ai.onnx": 17})
    assert found.inputs == (("x", ("batch", 6, 3, 5), "float16"),)
    assert found.outputs == (("y", ("batch", 5), "float16"),)
    assert (found.nodes, found.parameters, found.functions) == (4, 5 * 6 + 5, 0)
    assert (found.verdict, found.rewritten, found.inlined) == ("exact", (), False)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["heads"][0]["classes"] == 5


def test_where_the_cells_look_is_said_as_traced() -> None:
    body = f"k = Conv<strides=[4, 4]>(x, c)  f = Slice(k, last, start, axis, last)  {HEAD}"
    init = {**INIT, "c": np.ones((6, 3, 4, 4), np.float32), "last": np.array([-1]), "start": np.array([-99])}
    model = text_model(body, x="float[N,3,12,20] x", init={**init, "axis": np.array([3])})
    found = inspect(model)
    line = {"first": 2.0, "step": 4.0}
    assert found.to_json()["heads"][0]["places"] == {"known": True, "input": "x", "rows": line, "columns": line}
    console = Console(width=200, file=io.StringIO())
    console.print(inspection_note(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    said = "places: rows from 2 in steps of 4 pixels, columns from 2 in steps of 4 pixels of 'x', as traced"
    assert said in text


def test_weights_beside_the_file_count_as_its_own(tmp_path: Path) -> None:
    model = text_model(f"f = Relu(x)  {HEAD}", init={"d": weights(500, 6), "b": weights(500)}, y="float[N,500] y")
    external_data_helper.convert_model_to_external_data(model, location="m.data", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    found = inspect(tmp_path / "m.onnx")
    assert found.parameters == 500 * 7
    assert found.size == sum((tmp_path / name).stat().st_size for name in ("m.onnx", "m.data"))


def test_shapes_as_integers_are_no_parameters() -> None:
    init = {**INIT, "to": np.array([0, -1], np.int64)}
    model = text_model(f"f = Relu(x)  {HEAD.replace('Flatten(p)', 'Reshape(p, to)')}", init=init)
    assert inspect(model).parameters == 5 * 6 + 5


# --- pools ----------------------------------------------------------------------------------------------------------


def test_the_heads_pool_is_told_from_a_gate_and_from_local_pools() -> None:
    body = f"""m = MaxPool<kernel_shape=[2,2]>(x)
        s = GlobalAveragePool(m)  g = Sigmoid(s)  f = Mul(m, g)  {HEAD}"""
    found = inspect(text_model(body, x="float[N,6,8,8] x", init=INIT))
    gate, head = found.pools
    assert (gate.is_head, gate.role, gate.before[1:], gate.after[1:]) == (
        False,
        "gates the trunk's 6×7×7 map",
        (6, 7, 7),
        (6, 1, 1),
    )
    assert gate.joins == "f"
    assert (head.is_head, head.role, head.op) == (True, "the head of output 'y'", "GlobalAveragePool")
    assert found.local_pools == 1
    assert found.nearest_pool is None


@pytest.mark.parametrize(
    ("body", "role"),
    [
        (f"s = GlobalAveragePool(x)  f = Add(x, s)  {HEAD}", "goes back by Add into the trunk's 6×8×8 map"),
        (
            f"f = Relu(x)  {HEAD.replace('q = Flatten(p)', 'r = GlobalAveragePool(p)  q = Flatten(r)')}",
            "pools a map of one position, which changes nothing",
        ),
        (f"f = Relu(x)  s = GlobalMaxPool(f)  t = Flatten(s)  {HEAD}", "is not on the way from any output's logits"),
    ],
)
def test_what_a_pool_is_for_that_is_not_the_heads(body: str, role: str) -> None:
    found = inspect(text_model(body, x="float[N,6,8,8] x", init=INIT))
    assert role in [pool.role for pool in found.pools if not pool.is_head]
    assert [pool.role for pool in found.pools if pool.is_head] == ["the head of output 'y'"]


def test_the_pool_before_a_refused_head_is_the_nearest_candidate() -> None:
    body = "f = Relu(x)  p = GlobalAveragePool(f)  q = Flatten(p)  y = Mod<fmod=1>(q, q)"
    found = inspect(text_model(body, x="float[N,6,8,8] x", y="float[N,6] y"))
    assert (found.verdict, set(found.refusals)) == (None, {"y"})
    assert found.nearest_pool is not None
    assert found.nearest_pool.role == "leads to output 'y', whose head is refused"
    told = found.to_json()
    assert (told["verdict"], told["nearest_candidate"]["op"]) == ("refused", "GlobalAveragePool")


# --- a rewritten file -----------------------------------------------------------------------------------------------


def test_of_a_rewritten_file_the_vendors_outputs_are_told_and_its_record(tmp_path: Path) -> None:
    made = rewrite_model(text_model(f"f = Relu(x)  {HEAD}", init=INIT))
    save_model(made, tmp_path / "m.onnx")
    found = inspect(tmp_path / "m.onnx")
    assert [head.output for head in found.heads] == ["y"]
    assert found.refusals == {}
    assert [head.grid for head in found.rewritten] == ["gapmil_grid"]
    assert found.to_json()["already_rewritten"] is True
