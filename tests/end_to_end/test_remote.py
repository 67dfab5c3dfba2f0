"""Data behind URLs give what the same data on disk give: in memory, in an archive, on the web and in a bucket."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from onnx_gapmil.auditing import Progress, Request, audit
from onnx_gapmil.data import open_data
from onnx_gapmil.errors import DataError
from onnx_gapmil.images.decode import read_image
from tests.helpers import layouts
from tests.helpers.scene_data import MODEL
from tests.helpers.verbs import run, run_json

# The libraries of the stores warn of each other.
pytestmark = [pytest.mark.remote, pytest.mark.filterwarnings("ignore")]

LAYOUTS = {"csv": layouts.as_csv, "parquet": layouts.as_parquet, "tar": layouts.as_tar}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The scenes on disk, by layout."""
    folder = tmp_path_factory.mktemp("layouts")
    return {name: lay(folder / name, layouts.scenes()) for name, lay in LAYOUTS.items()}


class WholeFiles(http.server.SimpleHTTPRequestHandler):
    """Python's own server, which knows no ranges."""

    def log_message(self, *_: object) -> None:
        pass


class Parts(WholeFiles):
    """A server that does, as all large ones."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    do_HEAD = do_GET  # noqa: N815 (the name that the server looks for)


@contextmanager
def served(folder: Path, kind: type[WholeFiles]) -> Iterator[str]:
    handler = functools.partial(kind, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(client: Any, folder: Path, prefix: str) -> str:
    for file in folder.iterdir():
        client.upload_file(str(file), "photos", f"{prefix}/{file.name}")
    return f"s3://photos/{prefix}"


def in_memory(folder: Path, name: str) -> str:
    import fsspec

    system = fsspec.filesystem("memory")
    for file in folder.iterdir():
        system.pipe(f"/{name}/{file.name}", file.read_bytes())
    return f"memory://{name}"


def results(folder: Path) -> tuple[dict[str, Any], Any]:
    """Summary and table; of the data only how many images they are."""
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    return {**summary, "data": summary["data"]["images"]}, pq.read_table(folder / "images.parquet")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("store", ["memory", "zip", "s3"])
def test_an_audit_is_equal_to_that_on_disk(
    tmp_path: Path, data: dict[str, Path], bucket: Any, layout: str, store: str
) -> None:
    here = data[layout]
    if store == "zip":
        url = f"zip://::{shutil.make_archive(str(tmp_path / 'data'), 'zip', here)}"
    else:
        url = upload(bucket, here, f"equal/{layout}") if store == "s3" else in_memory(here, f"equal/{layout}")
    audit(Request(model=MODEL, data=here), tmp_path / "disk")
    assert run("audit", MODEL, url, "-o", tmp_path / "url") == 0
    there, then = results(tmp_path / "disk"), results(tmp_path / "url")
    assert then[0] == there[0]
    assert then[1].equals(there[1])
    assert json.loads((tmp_path / "url/summary.json").read_text("utf-8"))["data"]["root"].startswith(f"{store}:")


def test_folders_coco_and_yolo_in_a_bucket(tmp_path: Path, bucket: Any) -> None:
    (item, *_) = layouts.scenes()
    for key, body in {
        "folders/cat/1.png": item.data,
        "folders/dog/2.png": item.data,
        "coco/images/1.png": item.data,
        "coco/annotations/instances_val.json": json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.png"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [1, 2, 30, 40]}],
                "categories": [{"id": 4, "name": "cat"}],
            }
        ).encode(),
        "yolo/data.yaml": b"val: images/val\nnames: [owl, cat]\n",
        "yolo/images/val/1.png": item.data,
        "yolo/labels/val/1.txt": b"1 .5 .5 .1 .1\n",
        "voc/Annotations/1.xml": b"<annotation/>",
    }.items():
        bucket.put_object(Bucket="photos", Key=f"kinds/{key}", Body=body)
    for kind, labels in (("folders", ("cat",)), ("coco", ("cat",)), ("yolo", ("cat",))):
        found = open_data(f"s3://photos/kinds/{kind}")
        assert (found.kind, found.samples[0].labels) == (kind, labels)
        assert read_image(found.samples[0].image).shape == (96, 96, 3)
    with pytest.raises(DataError, match="annotations in XML, one file an image, are read from a local folder"):
        open_data("s3://photos/kinds/voc")


def test_labels_in_a_bucket_do_not_lead_out_of_it(tmp_path: Path, bucket: Any) -> None:
    bucket.put_object(Bucket="photos", Key="out/a.csv", Body=b"image,label\n../secret.png,1\n")
    with pytest.raises(DataError, match=r"line 2: '\.\./secret\.png' leads out of s3://photos/out"):
        open_data("s3://photos/out")


def test_predictions_and_comparisons_of_urls(
    tmp_path: Path, data: dict[str, Path], bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    url = upload(bucket, data["csv"], "predict")
    code, report = run_json(capsys, "predict", MODEL, url, "--no-pictures", "-o", tmp_path / "out")
    assert (code, len(report["images"])) == (0, 8)
    assert report["images"][0]["image"] == f"{url}/00_scene_00.png"
    code, here = run_json(capsys, "predict", MODEL, data["csv"], "--no-pictures", "-o", tmp_path / "here")
    assert [entry["heads"] for entry in report["images"]] == [entry["heads"] for entry in here["images"]]
    assert run("compare", MODEL, MODEL, upload(bucket, data["tar"], "tars"), "-o", tmp_path / "compared") == 0


FILES = {"csv": "labels.csv", "parquet": "test-00000-of-00002.parquet", "tar": "test-000000.tar"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_web_gives_tables_and_shards(data: dict[str, Path], layout: str) -> None:
    with served(data[layout], Parts) as web:
        there, here = open_data(f"{web}/{FILES[layout]}"), open_data(data[layout] / FILES[layout])
        assert [sample.labels for sample in there.samples] == [sample.labels for sample in here.samples]
        pixels = [read_image(sample.image).tobytes() for sample in there.samples]
        assert pixels == [read_image(sample.image).tobytes() for sample in here.samples]
        with pytest.raises(DataError, match="nothing is found there"):
            open_data(f"{web}/none.csv")


def test_a_server_of_whole_files_gives_tables_alone(data: dict[str, Path]) -> None:
    with served(data["csv"], WholeFiles) as web:
        assert read_image(open_data(f"{web}/labels.csv").samples[0].image).shape == (96, 96, 3)
    with (
        served(data["tar"], WholeFiles) as web,
        pytest.raises(DataError, match="its server gives whole files alone, and images are read one by one: fetch it"),
    ):
        open_data(f"{web}/{FILES['tar']}")


class StoppedError(Exception):
    """Stands for whatever stops a run."""


def test_an_object_that_changed_is_measured_again(tmp_path: Path, data: dict[str, Path], bucket: Any) -> None:
    url = upload(bucket, data["csv"], "resumed")

    def stop(now: Progress) -> None:
        if now.done >= 6:
            raise StoppedError

    request = Request(model=MODEL, data=url, batch=2, offset=0)
    with pytest.raises(StoppedError):
        audit(request, tmp_path / "out", progress=stop)
    last = (data["csv"] / "00_scene_07.png").read_bytes()
    bucket.put_object(Bucket="photos", Key="resumed/00_scene_00.png", Body=last)
    told: list[str] = []
    counts: list[int] = []
    audit(request, tmp_path / "out", note=told.append, announce=lambda _, __, count, ___: counts.append(count))
    assert (told, counts) == (["Measured again, since they changed: 00_scene_00.png."], [4])
