"""Reading untrusted files: one sentence for every way that a file can be wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import external_data_helper, helper

from onnx_gapmil.errors import GapmilError, ModelError
from onnx_gapmil.graph.loading import has_external_data, load_model
from onnx_gapmil.rewriting.rewriter import rewrite_model
from tests.helpers.support import text_model, weights

BODY = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def small() -> onnx.ModelProto:
    return text_model(BODY, init={"w": weights(5, 6), "b": weights(5)})


VALID = small().SerializeToString()


def save(folder: Path, data: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def message(model: Path | onnx.ModelProto) -> str:
    with pytest.raises(ModelError) as caught:
        rewrite_model(model)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 700
    return text


def test_valid_file_is_read(tmp_path: Path) -> None:
    loaded = load_model(save(tmp_path, VALID))
    assert loaded.size == len(VALID)
    assert loaded.folder == tmp_path
    assert loaded.sha256 == hashlib.sha256(VALID).hexdigest()


def test_proto_in_memory_has_no_folder() -> None:
    loaded = load_model(small())
    assert loaded.path is None
    assert loaded.folder is None
    assert loaded.name == "g"


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "nowhere.onnx")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in message(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    assert "empty" in message(save(tmp_path, b""))


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, VALID)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "cannot be read: Permission denied" in message(path)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", id="git_lfs_pointer"),
        pytest.param(b"<!DOCTYPE html><html><body>404</body></html>", id="html"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="zip"),
        pytest.param(b"Just some text.\n" * 10, id="text"),
        pytest.param(bytes(1000), id="zeros"),
        pytest.param(np.random.default_rng(0).bytes(5000), id="noise"),
        pytest.param(b"\x08\x08", id="only_an_ir_version"),
        pytest.param(onnx.ModelProto(ir_version=8).SerializeToString(), id="no_graph"),
    ],
)
def test_other_kinds_of_file(data: bytes, tmp_path: Path) -> None:
    text = message(save(tmp_path, data))
    assert ("git lfs pull" in text) == data.startswith(b"version https://git-lfs")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file(share: float, tmp_path: Path) -> None:
    message(save(tmp_path, VALID[: int(len(VALID) * share)]))


def changed(change: object) -> onnx.ModelProto:
    model = small()
    change(model)  # type: ignore[operator]
    return model


def double_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def shadow_weight(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["x"], ["w"]))


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "loop"
    model.graph.node.append(helper.make_node("Identity", ["f"], ["loop"]))


def self_loop(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "p"


def dangling_input(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nothing"


def dangling_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nothing"


def no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def negative_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -5


def huge_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 50


def short_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 50


def huge_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 45


def rankless_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def string_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.STRING


def bad_weight_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 77


def bad_input_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 77


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Frobnicate"


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "evil.example"
    model.opset_import.append(helper.make_opsetid("evil.example", 1))


def future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 999


def constants_only(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "w"
    model.graph.node[0].op_type = "Identity"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (double_node, "made twice"),
        (shadow_weight, "made twice"),
        (cycle, "cyclic"),
        (self_loop, "cyclic"),
        (dangling_input, "nothing makes"),
        (dangling_output, "no node makes"),
        (no_output, "no outputs"),
        (no_opset, "no operator set"),
        (negative_weight, "absurd"),
        (huge_weight, "more than the 2 GiB"),
        (short_weight, ""),
        (huge_input, "absurd"),
        (rankless_input, "rank"),
        (string_input, ""),
        (bad_weight_type, ""),
        (bad_input_type, ""),
        (unknown_operator, "Frobnicate"),
        (custom_operator, "custom operators"),
        (future_opset, "opset"),
        (future_ir, "IR version"),
        (constants_only, ""),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damaged_graph(change: object, words: str) -> None:
    assert words in message(changed(change))


def test_duplicate_weight_is_refused() -> None:
    model = small()
    model.graph.initializer.append(model.graph.initializer[0])
    message(model)


# --- external data --------------------------------------------------------------------------------------------------


def external(folder: Path, location: str = "weights.bin", **entries: str) -> Path:
    """The small model with its weight in a file beside it; ``entries`` overwrite what the model says of it."""
    model = small()
    tensor = model.graph.initializer[0]
    raw = onnx.numpy_helper.to_array(tensor).tobytes()
    (folder / "weights.bin").write_bytes(raw)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": location, "offset": "0", "length": str(len(raw))} | entries).items():
        tensor.external_data.add(key=key, value=value)
    return save(folder, model.SerializeToString())


def test_external_data_is_referenced_and_not_loaded(tmp_path: Path) -> None:
    path = external(tmp_path)
    loaded = load_model(path)
    assert has_external_data(loaded.proto)
    assert loaded.size == path.stat().st_size + 120
    assert not loaded.proto.graph.initializer[0].raw_data


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "sub/../../weights.bin", "C:\\weights.bin", "..\\w.bin", ""]
)
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(120))
    assert "outside the model's folder" in message(external(folder, location))


def test_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(120))
    path = external(folder, "link.bin")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "link" in message(path)


def test_missing_external_data(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert "no file beside it" in message(path)


def test_truncated_external_data(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(60))
    assert "truncated" in message(path)


@pytest.mark.parametrize(
    "entries", [{"offset": "-4"}, {"offset": "many"}, {"length": "-1"}, {"offset": "9" * 30}, {"length": "8"}]
)
def test_absurd_place_in_external_data(entries: dict[str, str], tmp_path: Path) -> None:
    message(external(tmp_path, **entries))


def test_external_data_without_a_length_must_hold_the_tensor(tmp_path: Path) -> None:
    path = external(tmp_path, length="0")
    (tmp_path / "weights.bin").write_bytes(bytes(60))
    message(path)


def test_external_data_that_is_a_folder(tmp_path: Path) -> None:
    path = external(tmp_path, "sub")
    (tmp_path / "sub").mkdir()
    message(path)


def test_external_data_of_a_proto_in_memory_is_an_error(tmp_path: Path) -> None:
    proto = load_model(external(tmp_path)).proto
    message(proto)


def test_external_data_file_named_by_the_onnx_package(tmp_path: Path) -> None:
    model = text_model(BODY, init={"w": weights(5, 6), "b": weights(5)})
    external_data_helper.convert_model_to_external_data(model, location="all.data", size_threshold=0)
    onnx.save(model, tmp_path / "model.onnx")
    assert rewrite_model(tmp_path / "model.onnx").verdict == "exact"


# --- fuzzing --------------------------------------------------------------------------------------------------------


def read_or_refuse(data: bytes, folder: Path) -> None:
    """Success or an error of our own; anything else fails the test."""
    with contextlib.suppress(GapmilError):
        rewrite_model(save(folder, data, "fuzzed.onnx"))


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.integers(0, len(VALID) - 1))
def test_every_truncation_is_an_error_of_our_own(tmp_path: Path, length: int) -> None:
    read_or_refuse(VALID[:length], tmp_path)


@FUZZ
@example(flips=[(218, 127)])  # a weight becomes a NaN
@given(flips=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_every_flipped_byte_is_an_error_of_our_own(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(VALID)
    for place, value in flips:
        data[place] = value
    read_or_refuse(bytes(data), tmp_path)


@FUZZ
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_error_of_our_own(tmp_path: Path, data: bytes) -> None:
    read_or_refuse(data, tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(VALID) - 1), st.integers(1, 40), st.binary(max_size=20))
def test_spliced_bytes_are_an_error_of_our_own(tmp_path: Path, place: int, cut: int, new: bytes) -> None:
    read_or_refuse(VALID[:place] + new + VALID[place + cut :], tmp_path)
