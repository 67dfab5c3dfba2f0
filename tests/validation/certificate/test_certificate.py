"""Certificates: an honest one holds anywhere, and a hundred forgeries are found."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_gapmil import InputError, ProofReport, rewrite, verify
from onnx_gapmil.cli import main
from onnx_gapmil.files.hashing import hash_file
from onnx_gapmil.rewriting.proved_record import PROOF_KEY, graph_digest
from onnx_gapmil.validation.certificate.content import render
from tests.helpers.scene_data import MODEL


def write_model(folder: Path, *, bent: bool = False) -> Path:
    """A small classifier whose first weights lie in a file beside it."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.normal(size=(8, 3, 3, 3)) * 0.3,
        "b": rng.normal(size=8) * 0.1,
        "head": rng.normal(size=(5, 8)),
        "bias": rng.normal(size=5),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[4, 4]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            *([helper.make_node("Tanh", ["f"], ["t"])] if bent else []),
            helper.make_node("Gemm", ["t" if bent else "f", "head", "bias"], ["y"], transB=1),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "small.onnx"
    onnx.save(model, path, save_as_external_data=True, location="small.data", size_threshold=100)
    return path


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its weights, its rewritten form and the certificate."""
    folder = tmp_path_factory.mktemp("certified")
    rewrite(write_model(folder), certificate=folder / "small.cert.json")
    return folder


@pytest.fixture
def folder(certified: Path, tmp_path: Path) -> Path:
    shutil.copytree(certified, tmp_path / "copy")
    return tmp_path / "copy"


def replayed(folder: Path) -> ProofReport:
    return verify(certificate=folder / "small.cert.json", provider="cpu")


def held(folder: Path) -> bool:
    """Whether a certificate holds; what cannot even be read does not."""
    try:
        return replayed(folder).passed
    except InputError:
        return False


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "small.cert.json").read_text("utf-8"))
    return found


def test_an_honest_certificate_holds_in_another_folder(folder: Path) -> None:
    report = replayed(folder)
    assert report.reasons() == []
    assert {check.name for check in report.checks} >= {"sum", "cell", "place"}
    found = content(folder)
    assert found["source"]["sha256"] == hash_file(folder / "small.onnx")
    assert found["source"]["weights"] == [{"name": "small.data", "sha256": hash_file(folder / "small.data")}]
    assert [entry["seed"] for entry in found["proof"]["inputs"]] == list(range(len(found["proof"]["inputs"])))


def test_models_may_be_named(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "small.cert.json", tmp_path / "c.json")
    given = {"certificate": tmp_path / "c.json", "provider": "cpu"}
    assert verify(folder / "small.onnx", folder / "small.gapmil.onnx", **given).passed  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such file"):
        verify(**given)  # type: ignore[arg-type]


def test_the_files_own_record_binds_source_graph_and_inputs(folder: Path) -> None:
    model = onnx.load(folder / "small.gapmil.onnx", load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    record = json.loads(metadata[PROOF_KEY])
    assert metadata["gapmil.source_sha256"] == hash_file(folder / "small.onnx")
    assert record["graph_sha256"] == graph_digest(model)
    assert record["seeds"] == [entry["seed"] for entry in content(folder)["proof"]["inputs"]]
    assert record["checks"] == {"sum": True, "cell": True, "place": True, "as_deployed": True}
    assert record["versions"].keys() == {"onnx-gapmil", "onnx", "onnxruntime", "numpy"}
    model.graph.node[0].name += "x"
    assert record["graph_sha256"] != graph_digest(model)


def test_a_difference_of_rounding_passes_and_a_larger_one_does_not(folder: Path) -> None:
    found = content(folder)
    output = next(iter(found["proof"]["residuals"]))
    for change, passes in ((1e-6, True), (1e-4, False)):
        other = copy.deepcopy(found)
        other["proof"]["residuals"][output] += change
        other["heads"][0]["residual"] += change
        other["proof"]["checks"]["sum"]["measure"] += change
        other["versions"]["onnxruntime"] = "9.9.9"
        (folder / "small.cert.json").write_bytes(render(other))
        assert held(folder) is passes


Forgery = tuple[str, Callable[[Path], None]]


def flip(name: str, seed: int) -> Callable[[Path], None]:
    """One bit of a file."""

    def forge(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        bit = int(np.random.default_rng(seed).integers(8 * len(data)))
        data[bit // 8] ^= 1 << (bit % 8)
        (folder / name).write_bytes(data)

    return forge


def leaves(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of everything that a certificate claims."""
    if isinstance(value, dict | list) and value:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            if where or key not in ("versions", "digest"):
                yield from leaves(entry, (*where, key))
    else:
        yield where


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 3 + 1
    if isinstance(value, str):
        return f"{value[:-1]}{'0' if value[-1:] != '0' else '1'}"
    return 0.5 if value is None else ["more"]


def claim(where: tuple[Any, ...]) -> Callable[[Path], None]:
    """Another claim, with the certificate's digest made anew."""

    def forge(folder: Path) -> None:
        found = content(folder)
        part = found
        for key in where[:-1]:
            part = part[key]
        part[where[-1]] = other(part[where[-1]])
        (folder / "small.cert.json").write_bytes(render(found))

    return forge


def graph_change(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    """Another rewritten file, with certificate and record made to fit it."""

    def forge(folder: Path) -> None:
        path = folder / "small.gapmil.onnx"
        model = onnx.load(path, load_external_data=False)
        change(model)
        props = {entry.key: entry for entry in model.metadata_props}
        if PROOF_KEY in props:
            record = json.loads(props[PROOF_KEY].value)
            props[PROOF_KEY].value = json.dumps({**record, "graph_sha256": graph_digest(model)})
        path.write_bytes(model.SerializeToString())
        found = content(folder)
        found["rewritten"] |= {"sha256": hash_file(path), "graph_sha256": graph_digest(model)}
        (folder / "small.cert.json").write_bytes(render(found))

    return forge


def shift_grid(model: onnx.ModelProto) -> None:
    """Cells in another order: the mean is the same."""
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == "gapmil_grid":
                node.output[place] = "before"
    model.graph.node.append(helper.make_node("Transpose", ["before"], ["gapmil_grid"], perm=[0, 1, 3, 2]))


def scale_bias(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, "bias"))


def drop_record(model: onnx.ModelProto) -> None:
    kept = [entry for entry in model.metadata_props if entry.key != PROOF_KEY]
    entries = [(entry.key, entry.value) for entry in kept]
    del model.metadata_props[:]
    for key, value in entries:
        model.metadata_props.add(key=key, value=value)


def rewrite_record(key: str, change: Callable[[str], str]) -> Callable[[onnx.ModelProto], None]:
    def alter(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == key:
                changed = change(entry.value)
                assert changed != entry.value
                entry.value = changed

    return alter


def forgeries(found: dict[str, Any]) -> list[Forgery]:
    made: list[Forgery] = []
    for name, count in (("small.cert.json", 20), ("small.gapmil.onnx", 12), ("small.onnx", 8), ("small.data", 8)):
        made += [(f"bit {seed} of {name}", flip(name, seed)) for seed in range(count)]
    made += [
        ("the grid transposed", graph_change(shift_grid)),
        ("another bias", graph_change(scale_bias)),
        ("no record of the proof", graph_change(drop_record)),
        (
            "a verdict in the record",
            graph_change(rewrite_record("gapmil.heads", lambda v: v.replace("exact", "conditional"))),
        ),
        (
            "places in the record",
            graph_change(rewrite_record("gapmil.heads", lambda v: v.replace('"step":4.0', '"step":8.0'))),
        ),
        (
            "another source in the record",
            graph_change(rewrite_record("gapmil.source_sha256", lambda v: v[::-1])),
        ),
        (
            "another seed in the record",
            graph_change(rewrite_record(PROOF_KEY, lambda v: v.replace('"inputs_sha256":"', '"inputs_sha256":"0'))),
        ),
    ]
    # Which kernels and graph a processor has is its own affair, and no claim about the file.
    free = {"versions", "digest", "same_graph", "kernels"}
    claims = [where for where in leaves(found) if not free & set(where)]
    chosen = np.random.default_rng(1).permutation(len(claims))[:60]
    return made + [(".".join(map(str, claims[place])), claim(claims[place])) for place in chosen]


def test_a_hundred_forgeries_are_all_found(certified: Path, tmp_path: Path) -> None:
    made = forgeries(content(certified))
    assert len(made) >= 100
    missed = []
    for place, (name, forge) in enumerate(made):
        folder = tmp_path / str(place)
        shutil.copytree(certified, folder)
        forge(folder)
        if held(folder):
            missed.append(name)
    assert missed == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no certificate"),
        ('{"kind": "onnx-gapmil certificate", "schema_version": 2}', "schema_version is '2'"),
        ('{"kind": "onnx-gapmil certificate", "schema_version": 1}', "lacks 'source'"),
        (
            '{"kind": "onnx-gapmil certificate", "schema_version": 1, "source": {"name": "../small.onnx"}}',
            "no file's name",
        ),
    ],
)
def test_a_torn_certificate_is_one_sentence_and_exit_code_2(
    folder: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "small.cert.json").write_text(text)
    assert main(["verify", "--certificate", str(folder / "small.cert.json")]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1


@pytest.mark.parametrize("change", ["no_proof", "other_versions"])
def test_a_certificate_without_its_parts_is_one_sentence(
    folder: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "small.cert.json"
    content = json.loads(path.read_text())
    if change == "no_proof":
        del content["proof"]
    else:
        content["versions"] = []
    path.write_bytes(render(content))
    assert main(["verify", "--certificate", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_commands_write_and_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copy(MODEL, tmp_path / "m.onnx")
    certificate = tmp_path / "m.cert.json"
    assert main(["rewrite", str(model), "--certificate", str(certificate)]) == 0
    assert main(["verify", "--certificate", str(certificate)]) == 0
    assert "it holds here" in capsys.readouterr().out
    (tmp_path / "m.gapmil.onnx").write_bytes((tmp_path / "m.gapmil.onnx").read_bytes() + b"\x00")
    assert main(["verify", "--certificate", str(certificate)]) == 1
    assert "another SHA-256" in capsys.readouterr().out
    assert main(["verify"]) == 2
    assert (
        main(["verify", str(model), str(tmp_path / "m.gapmil.onnx"), "x.png", "--certificate", str(certificate)]) == 2
    )


def test_cells_of_a_conditional_head_that_are_others_are_found(tmp_path: Path) -> None:
    """Noise whose mean is 0 leaves the logits and the sum as they are."""
    write_model(tmp_path, bent=True)
    rewrite(tmp_path / "small.onnx", certificate=tmp_path / "small.cert.json")
    assert held(tmp_path)
    graph_change(add_noise)(tmp_path)
    report = replayed(tmp_path)
    assert not report.passed
    assert "'gapmil_grid' is not what lifting the head of 'y' gives" in " ".join(report.failures)


def add_noise(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == "gapmil_grid":
                node.output[place] = "before"
    noise = np.random.default_rng(2).normal(size=(8, 8))
    model.graph.initializer.append(numpy_helper.from_array((noise - noise.mean()).astype(np.float32), "noise"))
    model.graph.node.append(helper.make_node("Add", ["before", "noise"], ["gapmil_grid"]))


def test_what_was_not_proved_now_is_not_certified(folder: Path) -> None:
    written = folder / "small.gapmil.onnx"
    for arguments, said in (
        ((written, None, written.with_suffix(".cert")), "was rewritten before"),
        ((folder / "small.onnx", None, folder / "small.onnx"), "is a model's file"),
        ((folder / "small.onnx", None, folder / "absent" / "c.json"), "no folder"),
    ):
        with pytest.raises(InputError, match=said):
            rewrite(arguments[0], arguments[1], certificate=arguments[2])
    with pytest.raises(InputError, match="not to be written"):
        rewrite(folder / "small.onnx", write=False, certificate=folder / "c.json")
