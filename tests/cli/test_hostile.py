"""A model that wants to crash, to hang, to steer the terminal or to write over files, given to the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import helper

from tests.helpers import hostile
from tests.helpers.verbs import SAMPLES, SCENES, files, run, run_json

EVIL = "\x1b[2J\u202eevil\n[red]Error: none[/]"
linux = pytest.mark.skipif(sys.platform != "linux", reason="supervised on Linux")


def call(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """The command line as it is started from a shell."""
    command = [sys.executable, "-m", "onnx_gapmil", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, **settings)  # type: ignore[call-overload,no-any-return]


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def evil_model() -> onnx.ModelProto:
    """Its every name steers."""
    model = hostile.classifier()
    for place, node in enumerate(model.graph.node):
        node.name = f"{place}{EVIL}"
    for old, new in (("y", f"{EVIL}y"), ("x", f"{EVIL}x"), ("pooled", f"{EVIL}p")):
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in (*model.graph.input, *model.graph.output):
            value.name = new if value.name == old else value.name
    model.producer_name = EVIL
    helper.set_model_props(model, {EVIL: EVIL})
    return model


@pytest.mark.parametrize("verb", ["inspect", "rewrite"])
def test_no_name_of_a_model_steers_the_terminal(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(evil_model(), tmp_path / "m.onnx")
    assert run(verb, path) == 0
    streams = capsys.readouterr()
    assert not set("\x1b\u202e\r") & set(streams.out + streams.err)
    assert "\\x1b[2J\\u202eevil\\n[red]Error: none[/]y" in streams.out
    assert not any(line.lstrip().startswith("[red]Error: none") for line in streams.out.splitlines())


def test_no_error_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = hostile.classifier()
    model.graph.node[0].input[0] = EVIL
    folder = tmp_path / "\x1b[2J"
    folder.mkdir()
    assert run("inspect", saved(model, folder / "m.onnx")) == 2
    said = capsys.readouterr().err
    assert not set("\x1b\u202e") & set(said)
    assert "\\x1b[2J" in said
    assert said.count("\n") == 1


def test_class_names_and_paths_do_not_steer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps([f"\x1b]8;;http://x\x07{place}\u202e" for place in range(10)]))
    photo = tmp_path / "\x1b[31mphoto\u202e.png"
    shutil.copy(SCENES / "scene_00.png", photo)
    model = SAMPLES / "digits_torch_legacy.onnx"
    assert run("predict", model, photo, "--labels", names, "-o", tmp_path / "out") == 0
    streams = capsys.readouterr()
    assert not set("\x1b\u202e\x07") & set(streams.out + streams.err)
    assert "\\x1b[31mphoto\\u202e.png" in streams.out


# --- limits -------------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("busy", [True, False], ids=["looks up", "does not look up"])
def test_an_endless_loop_ends_with_a_sentence_and_nothing_is_written(tmp_path: Path, busy: bool) -> None:
    path = saved(hostile.endless_loop(busy=busy), tmp_path / "m.onnx")
    done = call("rewrite", path, "--limit-seconds", "4", "--json")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "raise it with --limit-seconds" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "limit"
    assert files(tmp_path) - {".m.gapmil.onnx.gapmil-part"} == {"m.onnx"}


@linux
def test_a_crash_of_the_runtime_is_a_sentence(tmp_path: Path) -> None:
    """The child is killed as a crash would kill it, while it is busy."""
    path = saved(hostile.endless_loop(), tmp_path / "m.onnx")
    command = [sys.executable, "-m", "onnx_gapmil", "inspect", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        child = the_child(process)
        time.sleep(0.5)
        os.kill(child, signal.SIGSEGV)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == "Error: ONNX Runtime or another library crashed (SIGSEGV); the file is damaged or hostile.\n"
    assert json.loads(printed)["error"]["code"] == "crash"


@linux
def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = saved(hostile.endless_loop(), tmp_path / "m.onnx")
    with subprocess.Popen([sys.executable, "-m", "onnx_gapmil", "inspect", str(path)]) as process:
        child = the_child(process)
        process.kill()
    for _ in range(200):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child lives on")


@linux
def test_sigterm_is_handed_on_and_tidied_up_after(tmp_path: Path) -> None:
    path = saved(hostile.endless_loop(), tmp_path / "m.onnx")
    command = [sys.executable, "-m", "onnx_gapmil", "rewrite", str(path), "--limit-seconds", "8"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        the_child(process)
        while len(files(tmp_path)) < 2:
            time.sleep(0.02)
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode in (143, 2)  # the runtime looks up when its limit is met
    assert len(said.strip().splitlines()) == 1
    assert files(tmp_path) == {"m.onnx"}


def the_child(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """The process that does the work."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := listed.read_text().split()):
        time.sleep(0.02)
    return int(found[0])


@pytest.mark.parametrize(
    ("value", "words"), [("0", "is no number of seconds"), ("-1", "seconds"), ("nan", "seconds"), ("x", "seconds")]
)
def test_limits_that_are_none_are_usage(value: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "m.onnx", "--limit-seconds", value) == 2
    assert words in capsys.readouterr().err


def test_memory_is_given_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(hostile.classifier(shape=(1, 3, 2000, 2000)), tmp_path / "m.onnx")
    assert run("inspect", path, "--limit-memory", "40MB") == 2
    assert "takes 0.0 GB of memory, more than the limit of 0.0 GB" in capsys.readouterr().err
    assert run("inspect", path, "--limit-memory", "much") == 2
    assert "is no size such as 6GB" in capsys.readouterr().err


# --- errors as JSON -----------------------------------------------------------------------------------------------


def test_an_error_is_one_json_document_where_json_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run_json(capsys, "inspect", tmp_path / "missing.onnx")
    assert code == 2
    assert found["error"]["code"] == "model"
    assert found["error"]["advice"] == "Check the path."
    assert run("inspect", "--no-such-option", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


# --- nothing of the user's is written over ------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for ending in ("onnx", "labels.txt", "preprocess.json", "card.json"):
        shutil.copy(SAMPLES / f"digits_torch_legacy.{ending}", tmp_path / f"m.{ending}")
    return tmp_path / "m.onnx"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["m.onnx", "m.labels.txt", "m.preprocess.json", "m.card.json"])
def test_rewrite_writes_over_nothing_of_the_models(name: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(model.parent)
    assert run("rewrite", model, "-o", model.parent / name) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert contents(model.parent) == before


def test_rewrite_does_not_write_over_the_models_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = onnx.load(SAMPLES / "digits_torch_legacy.onnx")
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=100)
    before = contents(tmp_path)
    assert run("rewrite", tmp_path / "m.onnx", "-o", tmp_path / "weights") == 2
    assert "part of the model, and is never overwritten" in capsys.readouterr().err.replace("original ", "")
    assert contents(tmp_path) == before


def test_predict_does_not_write_pictures_over_photos(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = model.parent / "photos"
    photos.mkdir()
    for place in range(2):
        shutil.copy(SCENES / f"scene_0{place}.png", photos / f"{place}.png")
    before = contents(model.parent)
    assert run("predict", model, photos, "-o", photos) == 2
    said = capsys.readouterr().err
    assert "0.png is read in this run, and is never overwritten" in said
    assert contents(model.parent) == before


def test_audit_does_not_write_over_its_labels(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = model.parent / "data"
    data.mkdir()
    shutil.copy(SCENES / "scene_00.png", data)
    (data / "summary.json").write_text(json.dumps([{"image": "scene_00.png", "label": 3}]))
    before = contents(model.parent)
    assert run("audit", model, data, "--labels", data / "summary.json", "-o", data) == 2
    assert "summary.json is read in this run" in capsys.readouterr().err
    assert contents(model.parent) == before


# --- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["inspect", "predict"])
def test_an_ascii_terminal_gets_a_right_answer(verb: str, model: Path) -> None:
    extra = [SCENES / "scene_00.png", "-o", model.parent / "out"] if verb == "predict" else []
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = call(verb, model, *extra, env={**os.environ, **plain})
    assert done.returncode == 0, done.stderr
    assert "12x12 cells" in done.stdout
    assert done.stdout.isascii()


@linux
def test_a_closed_stdout_is_an_error_before_anything_is_done(model: Path) -> None:
    script = 'exec "$@" >&-'
    before = contents(model.parent)
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "onnx_gapmil", "rewrite", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "Error: stdout is closed, so that nothing can be printed.\n"
    assert contents(model.parent) == before


@linux
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_stdout_is_one_sentence(flags: list[str], model: Path) -> None:
    command = [sys.executable, "-m", "onnx_gapmil", "inspect", str(model), *flags]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "Error: stdout cannot be written: No space left on device.\n"


@linux
def test_a_stderr_that_is_closed_or_full_does_not_matter(model: Path) -> None:
    for script in ('exec "$@" 2>&-', 'exec "$@" 2>/dev/full'):
        command = ["sh", "-c", script, "sh", sys.executable, "-m", "onnx_gapmil", "predict", str(model)]
        command += [str(SCENES / "scene_00.png"), "-o", str(model.parent / "out"), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
        assert done.returncode == 0
        assert json.loads(done.stdout)["images"]


@linux
def test_no_home_and_no_temporary_folder_make_no_difference(model: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"TMPDIR": "/nowhere", "TEMP": "/nowhere", "TMP": "/nowhere", "HOME": "/nowhere"}
    arguments = [SCENES / "scene_00.png", "-o", model.parent / "out"]
    done = call("predict", model, *arguments, env=environment, cwd=model.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("model ")
