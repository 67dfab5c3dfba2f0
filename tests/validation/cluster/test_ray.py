"""Runs on a Ray cluster of several workers are those of one process, byte by byte, also where workers are killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnx_gapmil import InputError, MergedPredictions, ModelError, audit, compare, predict
from onnx_gapmil.auditing import Request
from onnx_gapmil.ort import cpu
from onnx_gapmil.validation.cluster.jobs import AuditJob
from onnx_gapmil.validation.cluster.running import Reporter, run_on_ray
from tests.conftest import REPOSITORY
from tests.helpers.compared import changed_model
from tests.helpers.dying import DyingJob
from tests.helpers.folders import contents, same
from tests.helpers.held import wait_until
from tests.helpers.scene_data import MODEL, SAMPLES, write_scenes
from tests.helpers.verbs import run_json

# Ray's own threads and sockets warn as they go.
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

WORKERS = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of this machine, of as many worker processes, which the runs of this process use."""
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run here has as many threads as a worker there."""
    monkeypatch.setattr(cpu, "_told", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 scenes, one of which is damaged: three shards."""
    path = write_scenes(tmp_path_factory.mktemp("data"), copies=6, camera="a")
    (path.parent / "01_scene_03.png").write_bytes(b"no image")
    return path


def listen(notes: list[str], counts: list[tuple[int, int, int]] | None = None) -> Reporter:
    return Reporter(note=notes.append, progress=lambda *now: counts.append(now) if counts is not None else None)


@pytest.mark.usefixtures("cluster")
def test_an_audit_is_that_of_one_process(data: Path, tmp_path: Path) -> None:
    whole = audit(MODEL, data, tmp_path / "whole", batch=2, gallery=3)
    told: list[tuple[int, int]] = []
    found = audit(
        MODEL,
        data,
        tmp_path / "ray",
        batch=2,
        gallery=3,
        ray="auto",
        ray_cores=1,
        progress=lambda *now: told.append(now),
    )
    assert found == whole
    assert told[-1] == (48, 48)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert sorted(contents(tmp_path / "ray")) == ["classes.parquet", "images.parquet", "report.html", "summary.json"]
    assert same(tmp_path / "whole", tmp_path / "ray")


@pytest.mark.usefixtures("cluster")
def test_results_go_behind_a_url_and_name_urls(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers write to a folder of this machine, and what they made is put where it was asked for."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.pipe_file("/ray/models/m.onnx", MODEL.read_bytes())
    flags = ("--batch", "2", "--gallery", "3")
    code, _ = run_json(capsys, "audit", "memory://ray/models/m.onnx", data, "-o", tmp_path / "whole", *flags)
    assert code == 0
    at = ("--ray", "auto", "--ray-cores", "1")
    code, told = run_json(capsys, "audit", "memory://ray/models/m.onnx", data, "-o", "memory://ray/out", *flags, *at)
    assert code == 0, told
    found = {path.removeprefix("/ray/out/"): system.cat_file(path) for path in system.find("/ray/out")}
    assert found == contents(tmp_path / "whole")
    assert json.loads(found["summary.json"])["model"].endswith("ray/models/m.onnx")
    assert not list((tmp_path / "cache").rglob("summary.json*"))


@pytest.mark.usefixtures("cluster")
def test_a_comparison_is_that_of_one_process(data: Path, tmp_path: Path) -> None:
    other = changed_model(tmp_path)
    whole = compare(MODEL, other, data, tmp_path / "whole", batch=4, gallery=2)
    assert compare(MODEL, other, data, tmp_path / "ray", batch=4, gallery=2, ray="auto", ray_cores=1) == whole
    assert same(tmp_path / "whole", tmp_path / "ray")


@pytest.mark.usefixtures("cluster")
def test_a_prediction_is_that_of_one_process(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results lie among the photos, and are none; its paths are relative."""
    for name in ("whole", "ray"):
        shutil.copytree(data.parent, tmp_path / name)
    monkeypatch.chdir(tmp_path / "whole")
    predict(MODEL, ".", "out", batch=4, save="grid", tables=["coco", "parquet"])
    monkeypatch.chdir(tmp_path / "ray")
    wanted = ["--save", "npz,coco,parquet", "--batch", 4, "--ray", "--ray-cores", 1]
    for _ in range(2):  # the second time the first one's pictures lie there
        code, report = run_json(capsys, "predict", MODEL, ".", "-o", "out", *wanted)
        assert (code, len(report["images"]), len(report["failed"])) == (2, 47, 1)
    assert same(tmp_path / "whole" / "out", tmp_path / "ray" / "out")
    found = predict(MODEL, data.parent, tmp_path / "again", batch=4, pictures=False, ray="auto", ray_cores=1)
    assert isinstance(found, MergedPredictions)
    assert (found.done, found.failed) == (47, 1)


@pytest.mark.usefixtures("cluster")
def test_workers_killed_in_the_middle_change_nothing(data: Path, tmp_path: Path) -> None:
    graves, notes = tmp_path / "graves", list[str]()
    graves.mkdir()
    job = DyingJob(Request(model=MODEL, data=data, batch=2), tmp_path / "ray", graves=graves, deaths=2, after=6)
    counts: list[tuple[int, int, int]] = []
    found = run_on_ray(job, "auto", cores=1, reporter=listen(notes, counts))
    assert len(list(graves.iterdir())) >= 2
    assert sum("A worker died at shard" in note and "another one goes on with it" in note for note in notes) >= 2
    assert counts[-1][:2] == (48, 48)
    assert found.result == audit(MODEL, data, tmp_path / "whole", batch=2)
    assert same(tmp_path / "whole", tmp_path / "ray")


@pytest.mark.usefixtures("cluster")
def test_a_shard_that_kills_every_worker_is_given_up_and_what_is_done_is_kept(data: Path, tmp_path: Path) -> None:
    graves, counts = tmp_path / "graves", list[tuple[int, int, int]]()
    graves.mkdir()
    request = Request(model=MODEL, data=data, batch=2)
    job = DyingJob(request, tmp_path / "ray", graves=graves, deaths=1000, after=4)
    with pytest.raises(ModelError, match=r"3 workers died of shard \d/3, .*the same command goes on"):
        run_on_ray(job, "auto", cores=1)
    assert list((tmp_path / "ray").iterdir()) == [tmp_path / "ray" / ".ray"]
    found = run_on_ray(AuditJob(request, tmp_path / "ray"), "auto", cores=1, reporter=listen([], counts))
    assert counts[-1][2] >= 4  # images that the first run had done
    assert found.result == audit(MODEL, data, tmp_path / "whole", batch=2)
    assert same(tmp_path / "whole", tmp_path / "ray")


class StoppedError(Exception):
    """Stands for whatever stops a run."""


def test_a_run_that_is_stopped_stops_its_workers_and_goes_on(cluster: Any, data: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= total // 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        audit(MODEL, data, tmp_path / "ray", batch=1, ray="auto", ray_cores=1, progress=stop)
    assert not [each for each in contents(tmp_path / "ray") if not each.startswith(".ray/")]
    counts: list[tuple[int, int, int]] = []
    job = AuditJob(Request(model=MODEL, data=data, batch=1), tmp_path / "ray")
    # With fewer workers: the shards are those of the unfinished run.
    found = run_on_ray(job, "auto", cores=WORKERS, reporter=listen([], counts))
    assert counts[-1][2] >= 20
    assert found.result == audit(MODEL, data, tmp_path / "whole", batch=1)
    assert cluster.available_resources().get("CPU") is not None


@pytest.mark.usefixtures("cluster")
def test_an_unfinished_run_of_another_model_is_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise StoppedError

    with pytest.raises(StoppedError):
        audit(MODEL, data, tmp_path / "ray", ray="auto", ray_cores=1, progress=stop)
    other = changed_model(tmp_path)
    settings: dict[str, Any] = {"ray": "auto", "ray_cores": 1}
    with pytest.raises(InputError, match=r"another model.*begin anew with --restart"):
        audit(other, data, tmp_path / "ray", **settings)
    assert audit(other, data, tmp_path / "ray", restart=True, **settings).images == 47


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_refuses_is_told_as_by_the_verb(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vit = SAMPLES / "digits_torch_vit.onnx"
    code, document = run_json(capsys, "audit", vit, data, "-o", tmp_path / "out", "--ray", "auto", "--ray-cores", 1)
    assert (code, document["refusal"]["code"]) == (3, "class-token")
    code, document = run_json(capsys, "audit", MODEL, tmp_path / "none", "-o", tmp_path / "out", "--ray", "auto")
    assert code == 2
    assert f"it does not see {tmp_path / 'none'}" in document["error"]["message"]
    code, document = run_json(
        capsys, "audit", MODEL, data, "-o", tmp_path / "out", "--ray", "auto", "--ray-cores", WORKERS + 1
    )
    assert (code, document["error"]["message"]) == (
        2,
        f"No machine of the Ray cluster has the {WORKERS + 1} cores of a worker; {WORKERS} at most.",
    )
    assert not (tmp_path / "out").exists()


def test_another_cluster_than_that_of_this_process_is_refused(cluster: Any, data: Path, tmp_path: Path) -> None:
    here = cluster.get_runtime_context().gcs_address
    for other in ("local", "127.0.0.1:1"):
        with pytest.raises(InputError, match=f"connected to Ray at {here} and not to {other}"):
            audit(MODEL, data, tmp_path / "out", ray=other)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("cluster")
def test_two_runs_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    def again(done: int, total: int) -> None:
        if done:
            with pytest.raises(InputError, match="another run on Ray is writing into this folder"):
                audit(MODEL, data, tmp_path / "out", ray="auto")
            raise StoppedError

    with pytest.raises(StoppedError):
        audit(MODEL, data, tmp_path / "out", ray="auto", ray_cores=1, progress=again)


def test_what_ray_prints_is_not_on_stdout(data: Path, tmp_path: Path) -> None:
    """Of each worker that died Ray's thread prints lines of advice, where JSON is meant to be alone."""
    (tmp_path / "graves").mkdir()
    program = (
        "import sys; from pathlib import Path; from onnx_gapmil.auditing import Request\n"
        "from onnx_gapmil.validation.cluster.running import run_on_ray; from tests.helpers.dying import DyingJob\n"
        "model, data, folder = map(Path, sys.argv[1:])\n"
        "job = DyingJob(Request(model=model, data=data, batch=2), folder / 'out', graves=folder / 'graves', deaths=1, "
        "after=4)\n"
        "print(run_on_ray(job, 'local', cores=1).result.images)\n"
    )
    asked = [sys.executable, "-c", program, str(MODEL), str(data), str(tmp_path)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert list((tmp_path / "graves").iterdir())
    assert done.stdout == "47\n"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "onnx_gapmil", *map(str, arguments)]


def test_an_address_where_nobody_answers(data: Path, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{held.getsockname()[1]}"
        asked = command("audit", MODEL, data, "-o", tmp_path / "out", "--ray", address)
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: No Ray cluster answers at {address} (")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def marked(mark: str) -> list[str]:
    """Processes that inherited a variable of the environment: what they are called."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if mark.encode() in (place / "environ").read_bytes():
                found.append((place / "comm").read_text().strip())
    return found


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_command_that_ends_leaves_nothing_running_and_what_goes_on(
    how: signal.Signals, code: int, data: Path, tmp_path: Path
) -> None:
    """A cluster that was started for the run ends with it, however that ends."""
    asked = command("audit", MODEL, data, "-o", tmp_path / "out", "--ray", "local", "--ray-cores", 1, "--batch", 1)
    mark = f"GAPMIL_TEST={tmp_path}/{how}"
    environment = {**os.environ, "GAPMIL_TEST": f"{tmp_path}/{how}"}
    with subprocess.Popen(
        asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        journals = tmp_path / "out" / ".ray"
        wait_until(lambda: any(each.stat().st_size for each in journals.glob("*/shard/batches.jsonl")), process)
        assert "raylet" in marked(mark)
        process.send_signal(how)
        process.wait()
        # Ray's own agents see after a minute that what they served was killed; what works is gone at once.
        agents = {"ray::DashboardA", "ray::RuntimeEnv"} if how is signal.SIGKILL else set()
        until = time.monotonic() + 120
        while set(marked(mark)) - agents and time.monotonic() < until:
            time.sleep(0.1)
        assert set(marked(mark)) <= agents
        said = process.stderr.read() if process.stderr is not None else ""
    assert process.returncode == code
    assert how is signal.SIGKILL or "the same command goes on" in said
    assert not [each for each in (tmp_path / "out").iterdir() if each.name != ".ray"]
    done = subprocess.run([*asked, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["images"] == 47
    audit(MODEL, data, tmp_path / "whole", batch=1)
    assert same(tmp_path / "whole", tmp_path / "out")
