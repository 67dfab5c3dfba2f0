"""An audit of many images and of many classes: memory, time and sizes of what it writes, against the number of images.

The images are rows of one Parquet file: a few small pictures, each again and again, with a label, a box and a column
for slices. A tiny model measures the first of them; the journal of the whole audit is then made of these records under
the names of all rows, as a run that was stopped after its last image would have left it. What is measured is the rest,
in a fresh process: to open the data, to go on (to read the journal), and to write the summary, the tables and the page.
So many images can be had in minutes; what their decoding and inference take is in `predict_end_to_end`.

Memory is the most that the process ever had resident. *Bytes an image* is what each image more than the row before it
added to that. Samples, records, names and the flags of boxes lie packed, the first 8 MB of each in memory and what
follows in a file without a name in the folder for temporary files (*temporary MB*; where that folder is memory itself,
``TMPDIR`` names another). Two things are held of every image:

- The numbers that figures are made of, since a median or a bootstrap needs all of them: 173 bytes here, in the
  narrowest types that give each number back. 13 are 8 bytes wide (confidence, negative log-likelihood, Brier score,
  the label's probability, margins, evidence beside the object and at the edges), 8 that are round on a grid of 16
  cells take 2 and would take 8 on another (then some 220 bytes in all), classes and ranks by nine aggregators take 2,
  counts and flags 1.
- Its place in each of its slices, 4 bytes a column; and while slices are made, all names.

Heads of several labels hold more: the scores of all classes that label an image, by each aggregator that is kept, 8
bytes each. Records are unpacked twice: for the columns, and for the table of images. Records that are much alike, as
here, pack smaller than others: those of 400 photos with a box each, by a trained MobileNetV2, took 220 bytes each. The
gallery keeps up to 128 MB of images' bytes of the shards that it reads, whatever the number of images. The page is
capped by its gallery, and journal and tables are written as a stream.

A million rows of 1,000 classes were run once, by ``--images 1000000 --classes 1000`` on 30 November 2026 on an Intel
Xeon: 363 MB when going on and 605 MB at most (1,211 while all of it lay in memory), 308 MB in temporary files; a
journal of 1.6 GB, and a page of 1.4 MB. Other processes took most of the two processors meanwhile (load 9), so that
its times say little: 226 s to open, 102 s to go on, 949 s to write.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import ROOT, made_by, table, write

COMMAND = "python -m benchmarks.scale --markdown docs/benchmarks/scale.md"
SIDE, CELLS, CHANNELS = 32, 4, 8
#: Different pictures; and how many rows are measured by the model, all others repeat them.
PICTURES, MEASURED = 64, 256
HEADER = [
    "classes",
    "images",
    "open s",
    "go on s",
    "µs an image",
    "write s",
    "MB when going on",
    "MB at most",
    "bytes an image",
    "temporary MB",
    "journal MB",
    "images.parquet MB",
    "report.html MB",
]


def make_model(path: Path, classes: int) -> None:
    """A convolution, global average pooling and a dense layer, with random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((CHANNELS, 3, SIDE // CELLS, SIDE // CELLS)).astype(np.float32) / 8,
        "d": rng.standard_normal((classes, CHANNELS)).astype(np.float32),
        "b": rng.standard_normal(classes).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[SIDE // CELLS] * 2),
        helper.make_node("Relu", ["c"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["p"]),
        helper.make_node("Flatten", ["p"], ["v"]),
        helper.make_node("Gemm", ["v", "d", "b"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def make_data(path: Path, images: int, classes: int) -> None:
    """The Parquet file; row i has picture i modulo their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng = np.random.default_rng(1)
    pictures = []
    for _ in range(PICTURES):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(stream, "JPEG", quality=75)
        pictures.append(stream.getvalue())
    boxes = np.sort(rng.integers(0, SIDE + 1, (MEASURED, 2, 2)), axis=1)
    boxes[:, 1] = np.maximum(boxes[:, 1], boxes[:, 0] + 1)
    with pq.ParquetWriter(path, schema := _schema(), compression="zstd") as writer:
        for start in range(0, images, 10_000):
            rows = range(start, min(start + 10_000, images))
            columns = [
                [{"bytes": pictures[row % PICTURES], "path": None} for row in rows],
                [row % MEASURED * 7919 % classes for row in rows],
                [[boxes[row % MEASURED].ravel().tolist()] for row in rows],
                [("north", "south", "west")[row % 3] for row in rows],
            ]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))


def _schema() -> Any:
    import pyarrow as pa

    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return pa.schema(
        {"image": image, "label": pa.int64(), "boxes": pa.list_(pa.list_(pa.float64())), "station": pa.string()}
    )


class StopError(Exception):
    """The run is stopped here."""


def stopped(model: str, data: str, output: str, images: int) -> dict[str, Any]:
    """In this process: begin the audit, stop it after the first of its images, and write a journal of all of them."""
    from onnx_gapmil.auditing import Request, audit
    from onnx_gapmil.auditing.journal import BatchJournal, Journal
    from onnx_gapmil.auditing.records import ImageRecord

    batches: list[tuple[Any, Any]] = []
    real = BatchJournal.add

    def kept(journal: Any, records: Any, files: Any = ()) -> None:
        batches.append((list(records), list(files)))
        real(journal, records, files)

    def until(progress: Any) -> None:
        if progress.done >= min(MEASURED, images):
            raise StopError

    BatchJournal.add = kept  # type: ignore[method-assign]
    start = time.perf_counter()
    with contextlib.suppress(StopError):
        audit(Request(Path(model), Path(data), preprocess="unit", offset=0), Path(output), gallery=0, progress=until)
    seconds = time.perf_counter() - start
    BatchJournal.add = real  # type: ignore[method-assign]
    records = [record for batch, _ in batches for record in batch]
    assert all(isinstance(record, ImageRecord) for record in records), records[0]
    identity, size = batches[0][1][0], len(batches[0][0])
    os.fsync = lambda _: None  # a line a batch would wait for the disk a hundred thousand times
    with Journal(Path(output) / ".audit") as journal:
        for place in range(len(records), images, size):
            rows = range(place, min(place + size, images))
            again = [replace(records[row % MEASURED], image=records[0].image.replace("#0", f"#{row}")) for row in rows]
            journal.add(again, [identity] * len(again))
    return {"seconds": seconds, "measured": len(records)}


def gone_on(model: str, data: str, output: str) -> dict[str, Any]:
    """In this process: go on with the audit, of which nothing is left to measure."""
    from onnx_gapmil.auditing import Request, audit, preparation, resuming
    from onnx_gapmil.auditing.journal import BatchJournal
    from onnx_gapmil.running.pipeline.tuning import tune_process

    tune_process()
    marks: dict[str, float] = {}
    _clocked(resuming, "prepare", "open", marks)
    _clocked(preparation, "classifier_of", "model", marks)
    _clocked(BatchJournal, "find", "find", marks)
    results = importlib.import_module("onnx_gapmil.auditing.audit")  # the package has a function of that name
    real = results.write_images

    def written(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        marks["temporary"] = _temporary()

    results.write_images = written  # type: ignore[attr-defined]
    start = time.perf_counter()
    journal = (Path(output) / ".audit" / "batches.jsonl").stat().st_size

    def announce(_: Any, prepared: Any, done: int, total: int) -> None:
        assert done == total, (done, total)
        marks["announced"] = time.perf_counter()
        marks["MB when going on"] = _most()

    audit(Request(Path(model), Path(data), preprocess="unit", offset=0), Path(output), announce=announce)
    return {
        "open": marks["open"],
        "go on": marks["announced"] - start - marks["open"],
        "write": time.perf_counter() - marks["announced"],
        "MB when going on": marks["MB when going on"],
        "MB at most": _most(),
        "temporary": marks["temporary"],
        "journal": journal / 1e6,
        "parquet": (Path(output) / "images.parquet").stat().st_size / 1e6,
        "page": (Path(output) / "report.html").stat().st_size / 1e6,
    }


def _clocked(owner: Any, name: str, key: str, marks: dict[str, float]) -> None:
    real = getattr(owner, name)

    def clocked(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return real(*arguments, **named)
        finally:
            marks[key] = marks.get(key, 0.0) + time.perf_counter() - start

    setattr(owner, name, clocked)


def _temporary() -> float:
    """Megabytes of the files without a name that this process has open."""
    size = 0
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            size += link.stat().st_size if str(link.readlink()).endswith(" (deleted)") else 0
    return size / 1e6


def _most() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM:"))


def child(kind: str, *arguments: object) -> dict[str, Any]:
    """Run a function of this module in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--child", kind, json.dumps(arguments, default=str)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind} {arguments} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, classes: int, images: int) -> dict[str, Any]:
    """One row of the table."""
    model, data, output = (folder / f"{classes}.onnx", folder / f"{classes}-{images}.parquet", folder / "out")
    if not model.exists():
        make_model(model, classes)
    make_data(data, images, classes)
    place = output / f"{classes}-{images}"
    child("stopped", model, data, place, images)
    found = child("gone_on", model, data, place)
    data.unlink()
    return {"classes": classes, "images": images, **found}


def rows_of(found: list[dict[str, Any]]) -> list[list[str]]:
    """The table's rows."""
    rows = []
    before: dict[str, Any] | None = None
    for row in found:
        more = ""
        if before is not None and before["classes"] == row["classes"]:
            each = (row["MB at most"] - before["MB at most"]) * 1e6 / (row["images"] - before["images"])
            more = f"{each:,.0f}"
        rows.append(
            [
                f"{row['classes']:,}",
                f"{row['images']:,}",
                f"{row['open']:.1f}",
                f"{row['go on']:.1f}",
                f"{1e6 * row['go on'] / row['images']:.0f}",
                f"{row['write']:.1f}",
                f"{row['MB when going on']:,.0f}",
                f"{row['MB at most']:,.0f}",
                more,
                f"{row['temporary']:,.1f}",
                f"{row['journal']:,.1f}",
                f"{row['parquet']:,.2f}",
                f"{row['page']:,.1f}",
            ]
        )
        before = row
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, nargs="+", default=[10_000, 30_000, 100_000], help="numbers of images, ascending"
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[1000, 21_843], help="numbers of classes")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, arguments = options.child[0], json.loads(options.child[1])
        print(json.dumps({"stopped": stopped, "gone_on": gone_on}[kind](*arguments)))
        return 0
    found = []
    with tempfile.TemporaryDirectory() as place:
        for classes in options.classes:
            for images in options.images:
                found.append(measure(Path(place), classes, images))
                print(found[-1], file=sys.stderr)
    rows = rows_of(found)
    print("\n".join("  ".join(f"{cell:18}" for cell in row) for row in [HEADER, *rows]))
    lines = [
        "# Many images, many classes",
        "",
        *made_by(COMMAND, ("onnx-gapmil", "onnxruntime-gpu", "onnxruntime", "numpy", "pyarrow")),
        f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
        "",
        *(__doc__ or "").strip().splitlines(),
        "",
        *table(HEADER, rows, numbers_from=0),
        "",
    ]
    write(options.markdown, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
