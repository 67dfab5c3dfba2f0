"""How every verb tells what went wrong: one sentence, and an exit code that a script can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil.cli import main
from tests.helpers.verbs import SAMPLES, SCENES, files, run


def bad_models(folder: Path) -> dict[str, Path]:
    """Every kind of file that is no model, by what it is."""
    whole = (SAMPLES / "digits_torch_legacy.onnx").read_bytes()
    contents = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "garbage": bytes(range(256)) * 40,
        "text": b"this is not a model\n",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "image": (SCENES / "scene_00.png").read_bytes(),
    }
    for name, data in contents.items():
        (folder / f"{name}.onnx").write_bytes(data)
    (folder / "folder.onnx").mkdir()
    return {name: folder / f"{name}.onnx" for name in (*contents, "folder", "missing")}


@pytest.mark.parametrize("kind", ["truncated", "empty", "garbage", "text", "lfs", "image", "folder", "missing"])
@pytest.mark.parametrize("verb", ["inspect", "rewrite", "verify", "predict"])
def test_what_is_no_model_gets_one_sentence_and_exit_2(
    verb: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_models(tmp_path)[kind]
    before = files(tmp_path)
    extra = {"verify": [path], "predict": [SCENES / "scene_00.png", "-o", tmp_path / "out"]}.get(verb, [])
    assert run(verb, path, *extra) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert streams.err.startswith("Error: ")
    assert path.name in streams.err
    assert "Traceback" not in streams.err
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["rewrite"],
        ["rewrite", "a.onnx", "--no-such-flag"],
        ["rewrite", "a.onnx", "--readout", "wrong"],
        ["no-such-verb"],
        ["predict", "a.onnx"],
        ["predict", "a.onnx", "b.png", "--batch", "0"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
