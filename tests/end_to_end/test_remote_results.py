"""Models and results behind URLs: what is made there is what is made on disk, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pyarrow.parquet as pq
import pytest

from onnx_gapmil import api
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.files.cache import cache_folder
from onnx_gapmil.files.remote import RemotePath
from onnx_gapmil.graph.loading import load_model
from tests.end_to_end.test_remote import WholeFiles, served
from tests.helpers import colours, layouts
from tests.helpers.scene_data import MODEL
from tests.helpers.verbs import files, run, run_json

# The libraries of the stores warn of each other.
pytestmark = [pytest.mark.remote, pytest.mark.filterwarnings("ignore")]

NAMES = "".join(f"digit {number}\n" for number in range(10))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layouts.as_csv(tmp_path_factory.mktemp("photos") / "csv", layouts.scenes())


@pytest.fixture
def memory() -> Iterator[Any]:
    import fsspec

    system = fsspec.filesystem("memory")
    yield system
    for path in system.find("/"):
        system.rm_file(path)


def put(system: Any, folder: Path, place: str) -> None:
    for file in folder.iterdir():
        system.pipe_file(f"{place}/{file.name}", file.read_bytes())


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A model, the names of its classes, and what is none of its own."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(MODEL, folder / "m.onnx")
    (folder / "m.labels.txt").write_text(NAMES)
    (folder / "notes.txt").write_text("of somebody else")
    return folder


def all_objects(bucket: Any, prefix: str) -> dict[str, bytes]:
    listed = bucket.list_objects_v2(Bucket="photos", Prefix=f"{prefix}/").get("Contents", [])
    return {
        entry["Key"].removeprefix(f"{prefix}/"): bucket.get_object(Bucket="photos", Key=entry["Key"])["Body"].read()
        for entry in listed
    }


@pytest.fixture(params=["memory", "s3", "gs"])
def store(
    request: pytest.FixtureRequest, memory: Any, bucket: Any, google: Any
) -> tuple[str, Callable[[Path, str], None], Any]:
    """A place, what puts a folder there, and what reads one back."""
    if request.param == "memory":

        def found(prefix: str) -> dict[str, bytes]:
            start = f"/here/{prefix}/"
            return {path.removeprefix(start): memory.cat_file(path) for path in memory.find(start)}

        return "memory://here", lambda folder, name: put(memory, folder, f"/here/{name}"), found
    home = f"results-{os.urandom(4).hex()}"
    if request.param == "gs":

        def held(prefix: str) -> dict[str, bytes]:
            start = f"photos/{home}/{prefix}/"
            google.invalidate_cache()
            return {path.removeprefix(start): google.cat_file(path) for path in google.find(start)}

        return f"gs://photos/{home}", lambda folder, name: put(google, folder, f"photos/{home}/{name}"), held

    def upload(folder: Path, name: str) -> None:
        for file in folder.iterdir():
            bucket.upload_file(str(file), "photos", f"{home}/{name}/{file.name}")

    return f"s3://photos/{home}", upload, lambda prefix: all_objects(bucket, f"{home}/{prefix}")


def test_all_verbs_give_what_they_give_on_disk(
    tmp_path: Path, store: Any, model_folder: Path, photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, upload, found = store
    upload(model_folder, "models")
    model = f"{home}/models/m.onnx"
    code, inspected = run_json(capsys, "inspect", model)
    assert code == 0, inspected
    assert inspected["model"].replace("memory:///", "memory://") == model
    assert inspected["sha256"] == api.inspect(MODEL).sha256

    code, rewritten = run_json(capsys, "rewrite", model, "-o", f"{home}/models/m.gapmil.onnx")
    assert (code, rewritten["output_path"].endswith("models/m.gapmil.onnx")) == (0, True)
    assert run("rewrite", MODEL, "-o", tmp_path / "m.gapmil.onnx") == 0
    assert found("models")["m.gapmil.onnx"] == (tmp_path / "m.gapmil.onnx").read_bytes()
    assert run("verify", model) == 0

    assert run("audit", model, photos, "-o", f"{home}/audit") == 0
    assert run("audit", model_folder / "m.onnx", photos, "-o", tmp_path / "audit") == 0
    there = found("audit")
    assert set(there) == files(tmp_path / "audit")
    mine, theirs = json.loads(there["summary.json"]), json.loads((tmp_path / "audit/summary.json").read_text("utf-8"))
    assert "models/m.labels.txt" in mine["names_source"]
    for each in mine, theirs:
        for key in ("model", "names_source"):
            each.pop(key)
    assert mine == theirs

    for part in ("0/2", "1/2"):
        assert run("audit", model, photos, "-o", f"{home}/parts/{part[0]}", "--shard", part) == 0
    assert run("merge", f"{home}/parts/1", f"{home}/parts/0", "-o", f"{home}/whole") == 0
    (tmp_path / "whole.parquet").write_bytes(found("whole")["images.parquet"])
    assert pq.read_table(tmp_path / "whole.parquet").equals(pq.read_table(tmp_path / "audit/images.parquet"))
    assert run("compare", model, MODEL, photos, "-o", f"{home}/compared") == 0
    assert "compare.json" in found("compared")
    capsys.readouterr()
    code, predicted = run_json(capsys, "predict", model, photos, "-o", f"{home}/predicted")
    assert code == 0
    assert predicted["images"][0]["picture"].endswith("predicted/00_scene_00.png")
    assert "00_scene_00.png" in found("predicted")
    said = [
        content for part in ("audit", "whole", "compared", "predicted", "parts") for content in found(part).values()
    ]
    assert not any(str(cache).encode() in content for content in said)
    assert not [path for path in cache.glob("remote/**/*") if path.is_file() and path.stat().st_mtime > 1e8]


def test_what_a_flag_names_is_read_from_where_it_lies(
    tmp_path: Path, store: Any, memory: Any, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    home, upload, _ = store
    given = tmp_path / "given"
    given.mkdir()
    (given / "how.json").write_text('{"mean": [0, 0, 0], "std": [0.5, 0.5, 0.5], "input_size": [3, 48, 48]}')
    (given / "levels.txt").write_text("0.3\n0.6\n0.9\n")
    upload(given, "given")
    with zipfile.ZipFile(tmp_path / "given.zip", "w") as archive:
        for file in given.iterdir():
            archive.write(file, file.name)
    colours.write_model(tmp_path / "m.onnx", "sigmoids")
    colours.write_photos(tmp_path / "data", 6)
    (tmp_path / "names.txt").write_text("\n".join(colours.NAMES))

    def audited(out: str, place: str) -> dict[str, Any]:
        flags = ["--preprocess", f"{place}/how.json" if "%s" not in place else place % "how.json"]
        flags += ["--thresholds", f"{place}/levels.txt" if "%s" not in place else place % "levels.txt"]
        data = tmp_path / "data" / "labels.jsonl"
        names = ["--names", tmp_path / "names.txt"]
        code, found = run_json(capsys, "audit", tmp_path / "m.onnx", data, "-o", tmp_path / out, *names, *flags)
        assert code == 0, found
        return found

    here = audited("here", str(given))
    assert here["head"]["thresholds"] == pytest.approx([0.3, 0.6, 0.9])
    assert here["preprocess"]["std"] == [0.5, 0.5, 0.5]
    for out, place in (("there", f"{home}/given"), ("inside", f"zip://%s::file://{tmp_path / 'given.zip'}")):
        found = audited(out, place)
        said = found.pop("preprocess_source")
        assert "how.json" in said
        assert str(cache) not in said
        assert found == {key: value for key, value in here.items() if key != "preprocess_source"}
    assert run("audit", tmp_path / "m.onnx", tmp_path / "data", "--thresholds", f"{home}/given/none.txt") == 2
    assert "given/none.txt" in capsys.readouterr().err


def test_weights_beside_a_model_come_along_and_what_it_becomes_lies_beside_them(
    tmp_path: Path, memory: Any, cache: Path
) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    onnx.save_model(
        onnx.load(MODEL), folder / "m.onnx", save_as_external_data=True, location="m.weights", size_threshold=64
    )
    put(memory, folder, "/big")
    memory.pipe_file("/big/other.bin", b"none of its own")
    loaded = load_model("memory://big/m.onnx")
    assert loaded.size == sum(path.stat().st_size for path in folder.iterdir())
    assert loaded.name == "memory:///big/m.onnx"
    assert {path.name for path in (cache / "remote/memory/big").iterdir()} == {"m.onnx", "m.weights"}
    assert api.rewrite("memory://big/m.onnx", "memory://big/m.gapmil.onnx").proof.passed
    assert memory.exists("/big/m.gapmil.onnx")
    with pytest.raises(InputError, match=r"its weights are in m\.weights beside it"):
        api.rewrite("memory://big/m.onnx", "memory://elsewhere/m.gapmil.onnx")
    hostile = onnx.load(folder / "m.onnx", load_external_data=False)
    for tensor in hostile.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../secret" if entry.key == "location" else entry.value
    memory.pipe_file("/big/hostile.onnx", hostile.SerializeToString())
    memory.pipe_file("/secret", b"0" * 100_000)
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model("memory://big/hostile.onnx")
    assert not (cache / "remote/memory/secret").exists()


def test_a_model_is_fetched_again_only_when_it_changed(
    memory: Any, monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    put(memory, model_folder, "/models")
    fetched: list[str] = []
    save = RemotePath.save_to
    monkeypatch.setattr(RemotePath, "save_to", lambda self, file: (fetched.append(self.name), save(self, file))[1])
    for _ in range(2):
        first = load_model("memory://models/m.onnx").sha256
    assert sorted(fetched) == ["m.labels.txt", "m.onnx"]
    changed = onnx.load(MODEL)
    changed.doc_string = "x"
    memory.pipe_file("/models/m.onnx", changed.SerializeToString())
    assert load_model("memory://models/m.onnx").sha256 != first
    assert sorted(fetched) == ["m.labels.txt", "m.onnx", "m.onnx"]


def test_nothing_is_written_over_what_was_read(memory: Any, model_folder: Path, photos: Path) -> None:
    put(memory, model_folder, "/models")
    put(memory, photos, "/photos")
    before = {path: memory.cat_file(path) for path in memory.find("/")}
    for output in ("m.onnx", "m.labels.txt", "m.data"):
        with pytest.raises(InputError, match="never overwritten"):
            api.rewrite("memory://models/m.onnx", f"memory://models/{output}")
    assert {path: memory.cat_file(path) for path in memory.find("/")} == before


def test_without_a_place_nothing_is_written_beside_a_url(
    memory: Any, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(memory, model_folder, "/models")
    assert run("rewrite", "memory://models/m.onnx") == 2
    assert "beside which nothing is written unasked; name the result with -o" in capsys.readouterr().err


def test_a_store_that_takes_nothing_is_found_out_before_the_work(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", photos)
    for url in (f"zip://out::{archive}", "http://127.0.0.1:9/out"):
        assert run("audit", MODEL, photos, "-o", url) == 2
        told = capsys.readouterr().err
        assert "results cannot be put there" in told
        assert "proof" not in told


def test_what_cannot_be_put_is_kept_and_named(
    memory: Any, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: RemotePath, file: Path) -> None:
        raise OSError("no room left")

    monkeypatch.setattr(RemotePath, "load_from", full)
    code, said = run_json(capsys, "audit", MODEL, photos, "-o", "memory://out")
    assert code == 2
    assert said["error"]["message"] == "memory:///out: results cannot be put there (no room left)."
    assert run("audit", MODEL, photos, "-o", "memory://out") == 2
    kept = cache / "remote/memory/out"
    assert f"What was made for memory:///out is kept in {kept}." in capsys.readouterr().err
    assert {"summary.json", "report.html"} <= files(kept)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    assert run("audit", MODEL, photos, "-o", "memory://out") == 0
    assert memory.exists("/out/summary.json")
    assert not kept.exists()


def test_a_run_that_was_stopped_goes_on(
    memory: Any, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        api.audit(MODEL, photos, "memory://stopped", batch=2, progress=stop)
    kept = cache / "remote/memory/stopped"
    assert stopped.value.__notes__ == [f"What was made for memory:///stopped is kept in {kept}."]
    assert memory.find("/stopped") == []
    assert run("audit", MODEL, photos, "-o", "memory://stopped", "--batch", 2) == 0
    told = capsys.readouterr().err
    assert f"In {kept} lies what an earlier run made for memory:///stopped" in told
    assert "measured by an earlier run" in " ".join(told.split())


def test_a_run_goes_on_from_what_somebody_put_there(
    memory: Any, photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("audit", MODEL, photos, "-o", "memory://again", "--shard", "0/1") == 0
    before = memory.cat_file("/again/shard.json")
    shutil.rmtree(cache / "remote")
    capsys.readouterr()
    assert run("audit", MODEL, photos, "-o", "memory://again", "--shard", "0/1") == 0
    assert "8 of 8 images were measured by an earlier run" in " ".join(capsys.readouterr().err.split())
    assert memory.cat_file("/again/shard.json") == before


def test_without_the_extra_results_say_what_to_install(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert run("audit", MODEL, photos, "-o", "s3://bucket/out") == 2
    assert "pip install 'onnx-gapmil[remote]'" in capsys.readouterr().err


def test_secrets_of_a_url_are_never_told(
    tmp_path: Path, model_folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(model_folder, WholeFiles) as web:
        model = f"{web.replace('://', '://me:s3cr3t@')}/m.onnx?sig=s3cr3t"
        data = f"{web.replace('://', '://me:s3cr3t@')}/none.csv?sig=s3cr3t"
        assert run("audit", model, photos, "-o", tmp_path / "out") == 0
        assert run("audit", model, photos, "-o", tmp_path / "part", "--shard", "0/1") == 0
        assert run("audit", model, data, "-o", tmp_path / "none") == 2
        assert run("inspect", model.replace("m.onnx", "none.onnx")) == 2
    told = capsys.readouterr()
    written = [path.read_text("utf-8", "replace") for path in tmp_path.glob("*/**/*") if path.is_file()]
    leaks = [
        text[max(0, text.index("s3cr3t") - 60) :][:90] for text in (told.out, told.err, *written) if "s3cr3t" in text
    ]
    assert leaks == []
    summary = json.loads((tmp_path / "out/summary.json").read_text("utf-8"))
    assert summary["model"].endswith("/m.onnx?sig=***")
