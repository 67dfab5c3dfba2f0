"""Writing a rewritten model: whole, beside its weights, never over the original."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper

from onnx_gapmil.errors import InputError
from onnx_gapmil.rewriting import verbs
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.rewriting.saving import default_output_path, save_model
from onnx_gapmil.rewriting.verbs import rewrite
from tests.helpers.support import run, text_model, weights

BODY = "p = GlobalAveragePool(x)\n f = Flatten(p)\n y = Gemm<transB=1>(f, w, b)"


def vendor() -> onnx.ModelProto:
    return text_model(BODY, init={"w": weights(5, 6), "b": weights(5)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(vendor(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_file_is_written_beside_the_model(path: Path) -> None:
    before = path.read_bytes()
    found = rewrite(path)
    assert found.output_path == path.with_name("model.gapmil.onnx") == default_output_path(path)
    assert onnx.load(found.output_path) == found.model
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["model.gapmil.onnx", "model.onnx"]


def test_file_may_be_read_by_whom_the_umask_says(path: Path) -> None:
    found = rewrite(path)
    umask = os.umask(0)
    os.umask(umask)
    assert found.output_path is not None
    assert stat.S_IMODE(found.output_path.stat().st_mode) == 0o666 & ~umask


def test_nothing_is_written_where_that_is_asked_for(path: Path) -> None:
    assert rewrite(path, write=False).output_path is None
    assert sorted(path.parent.iterdir()) == [path]


def test_proto_is_written_only_to_a_given_place(tmp_path: Path) -> None:
    assert rewrite(vendor()).output_path is None
    assert rewrite(vendor(), tmp_path / "new.onnx").output_path == tmp_path / "new.onnx"


def test_original_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="never overwritten"):
        rewrite(path, path)
    link = path.with_name("link.onnx")
    link.symlink_to(path)
    with pytest.raises(InputError, match="never overwritten"):
        rewrite(path, link)
    assert path.read_bytes() == before


def test_folder_that_does_not_exist(path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        rewrite(path, path.parent / "nowhere" / "new.onnx")


def test_place_that_is_a_folder(path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        rewrite(path, path.parent)


def test_failure_while_writing_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        rewrite(path)
    assert sorted(path.parent.iterdir()) == [path]


@pytest.fixture
def external(tmp_path: Path) -> Path:
    model = text_model(BODY, y="float[N,500] y", init={"w": weights(500, 6), "b": weights(500)})
    external_data_helper.convert_model_to_external_data(model, location="model.data", size_threshold=0)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_external_data_is_shared(external: Path) -> None:
    data = (external.parent / "model.data").read_bytes()
    found = rewrite(external)
    assert found.output_path is not None
    assert found.output_path.stat().st_size < 5000
    assert (external.parent / "model.data").read_bytes() == data
    new = onnx.load(found.output_path, load_external_data=False)
    assert [entry.value for entry in new.graph.initializer[0].external_data if entry.key == "location"] == [
        "model.data"
    ]
    assert not new.graph.initializer[0].raw_data
    x = np.ones((2, 6, 3, 5), np.float32)
    y, logits, _, grid = run(onnx.load(found.output_path), x)
    np.testing.assert_array_equal(y, logits)
    np.testing.assert_allclose(grid.mean(axis=(2, 3)), y, atol=1e-5)


def test_model_with_external_data_must_stay_beside_it(
    external: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before anything is lifted or proved, and where to write instead."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(verbs, "rewrite_model", lambda *_, **__: pytest.fail("it was lifted first"))
    with pytest.raises(InputError, match=f"weights are in model.data beside it.*-o {external.parent / 'new.onnx'}"):
        rewrite(external, elsewhere / "new.onnx")
    assert not list(elsewhere.iterdir())


def test_saving_needs_no_proof(path: Path, tmp_path: Path) -> None:
    saved = save_model(rewrite_model(path), tmp_path / "unproved.onnx")
    assert saved.proof is None
    assert saved.to_json()["originals_unchanged"] is None
    assert saved.heads[0].residual is None
