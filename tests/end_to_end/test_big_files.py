"""Models too large to be run: shapes are inferred, the head is proved alone, the weights stay where they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnx_gapmil.graph.loading as loading
import onnx_gapmil.graph.trace as tracing
from benchmarks import rewriting_size
from onnx_gapmil.errors import GapmilError, ModelError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.proof import head_alone
from onnx_gapmil.rewriting.proof.report import ProofError, ProofReport
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import text_model, weights
from tests.references import zoo

ROOT = Path(__file__).resolve().parents[2]

SAMPLES = sorted((ROOT / "sample_models").glob("*.onnx"))
W, B = weights(5, 6), weights(5)
CONV = {"k": weights(6, 3, 1, 1), "w": W, "b": B}
IMAGE = "float[N,3,4,5] x"
TRUNK = "v0 = Conv(x, k) m = Relu(v0) "
DENSE = " y = Gemm<transB=1>(f, w, b)"


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every model's weights were too large for a trial run."""
    monkeypatch.setattr(tracing, "MAX_TRACED_BYTES", -1)


def proved_by_its_head(found: Rewrite) -> ProofReport:
    assert found.whole is not None
    assert found.trace is not None
    return head_alone.prove_head(
        found.source, found.model, found.heads, whole=found.whole, trace=found.trace, inlined=found.inlined
    )


def _result(model: Any) -> tuple[Any, ...]:
    """All that a rewrite decides, so that two can be compared."""
    try:
        found = rewrite_model(model)
    except UnsupportedHeadError as error:
        return "refused", {output: refusal.to_json() for output, refusal in error.refusals.items()}
    chains = [[step.to_json() for step in head.chain] for head in found.heads]
    return "lifted", found.model.SerializeToString(deterministic=True), chains, found.refusals


def _compare(model: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same graph to the byte from inferred shapes as from measured ones; or an error, in one sentence."""
    try:
        measured = _result(model)
    except GapmilError:
        return "unreadable"
    monkeypatch.setattr(tracing, "MAX_TRACED_BYTES", -1)
    try:
        inferred = _result(model)
    except ModelError as error:
        return "not inferred" if "weights are too large for a trial run" in str(error) else f"failed: {error}"
    assert inferred == measured
    return str(measured[0])


# --- shapes without a run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_inferred_shapes_give_a_sample_model_the_same_rewrite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _compare(path, monkeypatch) == ("refused" if "_vit" in path.stem else "lifted")


def _zoo() -> list[object]:
    entries = zoo.read_catalogue(zoo.ZOO)
    if not entries:
        return [pytest.param(None, marks=pytest.mark.skip(reason="there is no shared zoo beside the checkout"))]
    return [pytest.param(entry, id=entry["file"]) for entry in entries]


@pytest.mark.shared
@pytest.mark.parametrize("entry", _zoo())
def test_inferred_shapes_give_a_zoo_file_the_same_rewrite(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zoo.ZOO / entry["file"]
    if _compare(path, monkeypatch) == "not inferred":
        # Operators of ONNX Runtime's own have no shape inference in onnx, nor has what its tools write with a newer
        # attribute than the operator set has.
        domains = {node.domain for node in onnx.load(str(path), load_external_data=False).graph.node}
        assert any(name.startswith("com.microsoft") for name in domains) or "perch" in entry["file"]


RESHAPES = {
    "shape, gather, concat": (
        "s = Shape(p) n = Gather<axis=0>(s, at) c = Concat<axis=0>(n, rest) f = Reshape(p, c)",
        {"at": np.array([0]), "rest": np.array([-1])},
    ),
    "shape of the image, not of the map": (
        "s = Shape(x) n = Slice(s, at, to) c = Concat<axis=0>(n, rest) f = Reshape(p, c)",
        {"at": np.array([0]), "to": np.array([1]), "rest": np.array([6])},
    ),
    "arithmetic on sizes": (
        "s = Shape(p) d = ReduceProd<keepdims=1>(s) n = Gather<axis=0>(s, at) r = Div(d, n) c = Concat<axis=0>(n, r) "
        "f = Reshape(p, c)",
        {"at": np.array([0])},
    ),
    "through floats, as resizing exporters do": (
        "s = Shape(p) n = Gather<axis=0>(s, at) u = Cast<to=1>(n) v = Mul(u, one) i = Cast<to=7>(v) "
        "c = Concat<axis=0>(i, rest) f = Reshape(p, c)",
        {"at": np.array([0]), "one": np.array([1.0], np.float32), "rest": np.array([-1])},
    ),
    "a reshape behind a reshape": (
        "s = Shape(p) q = Reshape(p, s) t = Shape(q) n = Gather<axis=0>(t, at) c = Concat<axis=0>(n, rest) "
        "g = Reshape(q, c) z = Shape(g) f = Reshape(g, z)",
        {"at": np.array([0]), "rest": np.array([-1])},
    ),
    "a constant made of constants": (
        "o = Identity(rest) c = Concat<axis=0>(at, o) f = Reshape(p, c)",
        {"at": np.array([0]), "rest": np.array([-1])},
    ),
    "a batch that must be 1": ("f = Reshape(p, to)", {"to": np.array([1, -1])}),
}


@pytest.mark.parametrize("name", RESHAPES)
def test_computed_reshape_is_inferred_as_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, init = RESHAPES[name]
    model = text_model(f"{TRUNK} p = GlobalAveragePool(m) {body} {DENSE}", x=IMAGE, init={**CONV, **init})
    assert _compare(model, monkeypatch) == "lifted"


@pytest.mark.parametrize("dims", ["N,3,4,5", "2,3,4,5", "1,3,4,5", "N,3,H,W"])
def test_open_axes_are_inferred_as_measured(dims: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = text_model(f"{TRUNK} p = GlobalAveragePool(m) f = Flatten(p) {DENSE}", x=f"float[{dims}] x", init=CONV)
    assert _compare(model, monkeypatch) == "lifted"


def _with_function() -> onnx.ModelProto:
    return text_model(
        f"{TRUNK} f = local.pool(m) {DENSE}",
        x=IMAGE,
        domains='"local" : 1',
        init=CONV,
        functions='<domain: "local", opset_import: ["" : 17]> pool (a) => (c) '
        "{ g = GlobalAveragePool(a) c = Flatten(g) }",
    )


def test_local_function_is_inferred_as_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _compare(_with_function(), monkeypatch) == "lifted"


@pytest.mark.usefixtures("too_large")
def test_head_in_a_local_function_is_proved_after_inlining() -> None:
    result = rewrite(_with_function(), write=False)
    assert result.inlined
    assert result.proof is not None
    assert (result.proof.kind, result.proof.passed) == ("head", True)


def test_a_wrong_value_info_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = text_model(f"{TRUNK} p = GlobalAveragePool(m) f = Flatten(p) {DENSE}", x=IMAGE, init=CONV)
    model.graph.value_info.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [1, 6, 9, 9]))
    assert _compare(model, monkeypatch) == "lifted"


def test_a_class_token_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = text_model(
        "t = MatMul(x, v) f = Gather<axis=1>(t, first)" + DENSE,
        x="float[N,9,3] x",
        init={"v": weights(3, 6), "first": np.array(0), "w": W, "b": B},
    )
    assert _compare(model, monkeypatch) == "refused"


@pytest.mark.usefixtures("too_large")
def test_where_a_shape_cannot_be_inferred_nothing_is_lifted() -> None:
    model = text_model(
        f"c = Conv(x, k) m = com.microsoft.QuickGelu(c) p = GlobalAveragePool(m) f = Flatten(p) {DENSE}",
        x=IMAGE,
        init=CONV,
        domains='"com.microsoft" : 1',
    )
    with pytest.raises(ModelError, match=r"too large for a trial run.*com\.microsoft::QuickGelu"):
        rewrite_model(model)


@pytest.mark.usefixtures("too_large")
def test_a_reshape_that_loses_elements_is_found() -> None:
    model = text_model(
        f"{TRUNK} p = GlobalAveragePool(m) f = Reshape(p, to) {DENSE}",
        x="float[2,3,4,5] x",
        init={**CONV, "to": np.array([1, 6])},
    )
    with pytest.raises(ModelError, match=r"Reshape.* cannot take \[2, 6, 1, 1\]"):
        rewrite_model(model)


# --- the head alone -----------------------------------------------------------------------------------------------

HEADS = {
    "exact": "p = GlobalAveragePool(m) f = Flatten(p)" + DENSE,
    "conditional": "p = GlobalAveragePool(m) q = Flatten(p) f = HardSwish(q)" + DENSE,
    "two maps": "o = Neg(m) p = GlobalAveragePool(m) q = GlobalAveragePool(o) s = Sub(p, q) f = Flatten(s)" + DENSE,
    "shape of the image": "p = GlobalAveragePool(m) s = Shape(x) n = Gather<axis=0>(s, at) "
    "c = Concat<axis=0>(n, rest) f = Reshape(p, c)" + DENSE,
    "positive only": "l = Sqrt(m) p = GlobalAveragePool(l) r = Log(p) f = Flatten(r)" + DENSE,
}


def _head(name: str) -> onnx.ModelProto:
    extra = {"at": np.array([0]), "rest": np.array([-1])} if "image" in name else {}
    return text_model(TRUNK + HEADS[name], x=IMAGE, init={**CONV, **extra})


@pytest.mark.usefixtures("too_large")
@pytest.mark.parametrize("name", HEADS)
def test_a_large_model_is_proved_by_its_head_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(_head(name).SerializeToString())
    result = rewrite(path)
    assert result.proof is not None
    assert result.proof.passed
    report = result.to_json()["proof"]
    assert report["kind"] == "head"
    assert report["originals_unchanged"] is True
    assert all("head alone" in trial["inputs"] and max(trial["max_logit"].values()) > 0 for trial in report["trials"])
    assert (tmp_path / "large.gapmil.onnx").is_file()


@pytest.mark.usefixtures("too_large")
def test_a_wrong_grid_fails_the_proof_of_the_head() -> None:
    result = rewrite_model(_head("exact"))
    assert proved_by_its_head(result).passed
    grid = next(node for node in result.model.graph.node if node.output[0] == result.heads[0].grid)
    grid.op_type = "Neg"
    assert not proved_by_its_head(result).passed


@pytest.mark.usefixtures("too_large")
@pytest.mark.parametrize("what", ["node", "weight", "output"])
def test_a_change_to_the_vendors_part_fails_the_proof_of_the_head(what: str) -> None:
    result = rewrite_model(_head("exact"))
    graph = result.model.graph
    if what == "node":
        graph.node[1].op_type = "Sigmoid"
    elif what == "weight":
        graph.initializer[0].CopyFrom(numpy_helper.from_array(CONV["k"] * 2, "k"))
    else:
        del graph.output[0]
    report = proved_by_its_head(result)
    assert not report.originals_unchanged
    assert not report.passed


@pytest.mark.usefixtures("too_large")
def test_a_head_too_large_to_run_is_not_written_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_alone, "MAX_HEAD_BYTES", 10)
    path = tmp_path / "large.onnx"
    path.write_bytes(_head("exact").SerializeToString())
    with pytest.raises(ModelError, match="cannot be proved here and nothing is written"):
        rewrite(path)
    assert [file.name for file in tmp_path.iterdir()] == ["large.onnx"]


@pytest.mark.usefixtures("too_large")
def test_a_failed_proof_of_the_head_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(_head("exact").SerializeToString())
    monkeypatch.setattr("onnx_gapmil.rewriting.proof.comparison.residual_of", lambda logits, grid: (1.0, 1.0))
    with pytest.raises(ProofError):
        rewrite(path)
    assert [file.name for file in tmp_path.iterdir()] == ["large.onnx"]


# --- 10 GB on a sparse disk ---------------------------------------------------------------------------------------


def _has_sparse_files(folder: Path) -> bool:
    probe = folder / "probe"
    with probe.open("wb") as stream:
        stream.truncate(1 << 30)
    sparse = hasattr(os, "pread") and probe.stat().st_blocks * 512 < 1 << 20
    probe.unlink()
    return sparse


#: The command line, which then says how much memory it took. Not `getrusage`: its peak begins with that of the process
#: it was forked from.
MEASURED_REWRITE = """
import sys
from onnx_gapmil.benchmarking.memory import peak_resident
from onnx_gapmil.cli import main
code = main(["rewrite", "--json", sys.argv[1]])
print("peak:", peak_resident(), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are not sparse by themselves there")
def test_ten_gigabytes_are_referenced_and_neither_read_nor_copied(tmp_path: Path) -> None:
    if not _has_sparse_files(tmp_path):
        pytest.skip(f"NOT RUN: {tmp_path} keeps no sparse files, so this would write 10 GB")
    path = rewriting_size.write_model(tmp_path, 10)
    data = tmp_path / "large.data"
    before = data.stat()
    assert before.st_size > 10e9
    command = [sys.executable, "-c", MEASURED_REWRITE, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["proof"]["kind"] == "head"
    assert report["proof"]["passed"] is True
    assert report["heads"][0]["residual"] < 2e-5
    assert report["proof"]["trials"][0]["max_logit"]["logits"] > 0
    after = data.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_blocks) == (before.st_mtime_ns, before.st_size, before.st_blocks)
    target = tmp_path / "large.gapmil.onnx"
    assert target.stat().st_size < 20_000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["large.data", target.name, path.name]
    old, new = (onnx.load(str(file), load_external_data=False).graph.initializer for file in (path, target))
    assert list(new)[: len(old)] == list(old)
    # An order of magnitude below the weights; the figure itself is in docs/benchmarks/rewriting_size.md.
    peak = done.stderr.rsplit("peak:", 1)[1].strip()
    assert peak == "None" or 1e7 < int(peak) < 1e9, peak


# --- weights inside the file --------------------------------------------------------------------------------------


def test_an_inline_file_that_memory_will_not_hold_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "inline.onnx"
    with path.open("wb") as stream:
        stream.truncate(1_900_000_000)
    monkeypatch.setattr(loading, "available_memory", lambda: 4_000_000_000)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("the file was read"))
    with pytest.raises(ModelError, match=r"holds its 1\.9 GB inside the file: .* 7\.6 GB .* 4\.0 GB are free"):
        load_model(path)


def test_a_model_in_memory_beyond_two_gibibytes_is_refused_before_it_is_serialized() -> None:
    model = _head("exact")
    for count in range(3):
        tensor = model.graph.initializer.add()
        tensor.name, tensor.data_type = f"huge_{count}", TensorProto.FLOAT
        tensor.dims.extend([1 << 14, 1 << 14])  # 1 GiB declared, none held: only the declaration may be looked at
    with pytest.raises(ModelError, match="more than the 2 GiB of a protobuf file"):
        rewrite_model(model)


def test_available_memory_is_known_or_said_to_be_unknown() -> None:
    free = loading.available_memory()
    assert free is None or free > 0


def test_external_data_of_a_local_function_must_lie_beside_the_model(tmp_path: Path) -> None:
    model = _head("exact")
    stray = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    stray.external_data.add(key="location", value="../secret")
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=stray))
    model.functions.append(helper.make_function("local", "F", [], ["c"], [node], [helper.make_opsetid("", 17)]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(path)


def test_an_element_type_that_does_not_exist_is_told(tmp_path: Path) -> None:
    model = _head("exact")
    model.graph.initializer[0].data_type = 99
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"99.*element type|element type.*99"):
        rewrite_model(path)
