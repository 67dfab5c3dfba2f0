"""The steps of ``gpu.py``. Each takes a provider's short name, so that the CPU can rehearse it, and gives JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import pages, shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_gapmil.benchmarking.runs import BoundRun
    from onnx_gapmil.benchmarking.variants import Variant
    from onnx_gapmil.graph.inputs import InputShape

EMISSIONS = ("grid", "features,grid", "topk:5", "argmax", "scores:max,lse")
#: Largest |CUDA - CPU| / max |CPU| that float32 without TF32 may show, and the least share of equal integers (two
#: classes that all but tie may change places).
TOLERANCE, EQUAL_SHARE = 1e-4, 0.99


def _prepared(name: str, emissions: Sequence[str], batch: int) -> tuple[list[Variant], tuple[InputShape, ...]]:
    """The variants of a model, the original first, and its inputs at 224 px."""
    from onnx_gapmil.benchmarking.inputs import bench_inputs
    from onnx_gapmil.benchmarking.variants import build_variants
    from onnx_gapmil.graph.loading import load_model
    from onnx_gapmil.graph.view import ModelGraph

    proto = shapes.build(name)
    variants, _, _ = build_variants(load_model(proto), tuple(emissions))
    return list(variants), bench_inputs(ModelGraph(proto), batch, (224, 224), name)


def bench_table(
    name: str, provider: str, batches: tuple[int, ...], precisions: tuple[str, ...], seconds: float
) -> dict[str, Any]:
    """`bench` of one model: every emission, batch size and precision, device memory included."""
    from onnx_gapmil.benchmarking.benchmark import bench
    from onnx_gapmil.benchmarking.plan import BenchPlan

    size = None if shapes.SHAPES[name].fixed else (224, 224)
    plan = BenchPlan(EMISSIONS, batches, (provider,), precisions, size, seconds, memory=True)
    return bench(shapes.build(name), plan).to_json()


def whole_on_provider(name: str, provider: str) -> dict[str, Any]:
    """For each graph its nodes by provider, and whether it loads where the CPU may not help out at all."""
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.ort.errors import readable
    from onnx_gapmil.ort.providers import choose_providers
    from onnx_gapmil.ort.quiet import onnxruntime_module
    from onnx_gapmil.ort.session import nodes_per_provider

    ort, choice = onnxruntime_module(), choose_providers(provider)
    found = {}
    for variant in _prepared(name, EMISSIONS, 1)[0]:
        data, _ = variant.model.session_source()
        nodes = nodes_per_provider(timed_session(data, choice, what=variant.name))
        alone = True
        why = ""
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        if provider != "cpu":
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            first, options = choice.providers[0]
            ort.InferenceSession(data, settings, providers=[(first, dict(options))], enable_fallback=0)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base of their own
            alone, why = False, readable(error)
        found[variant.name] = {"nodes": nodes, "without_cpu": alone, "why": why}
    return found


def equality(name: str, provider: str, batch: int = 4) -> dict[str, Any]:
    """Every output on the provider against the CPU's, on the same random images."""
    from onnx_gapmil.benchmarking.runs import BoundRun
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.ort.providers import choose_providers

    found: dict[str, Any] = {}
    emissions = ("features,grid,argmax,certainty,peaks,scores:max,lse", "topk:5")
    variants, inputs = _prepared(name, emissions, batch)
    for variant in variants[1:]:
        arrays = []
        for where in ("cpu", provider):
            choice = choose_providers(where)
            session = timed_session(variant.model.session_source()[0], choice, what=variant.name)
            run = BoundRun(session, inputs, variant.outputs, choice.used, variant.name)
            run()
            arrays.append(_arrays(run, variant))
        found |= compare(*arrays)
    return {"outputs": found, "passed": all(entry["passed"] for entry in found.values())}


def compare(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Floats by their largest difference over the largest expected value, integers by the share of equal ones.

    The grid of the best classes is compared where both chose the same class for a row.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = next((np.equal(expected[key], got[key]) for key in expected if "topk_classes" in key), None)
    for key, array in expected.items():
        other = got[key]
        if array.dtype.kind != "f":
            share = float(np.mean(array == other))
            found[key] = {"equal": share, "passed": share >= EQUAL_SHARE}
            continue
        if "topk_grid" in key and rows is not None:
            array, other = array[rows], other[rows]
        gap = float(np.abs(array.astype(np.float64) - other).max()) / max(float(np.abs(array).max()), 1e-30)
        found[key] = {"difference": gap, "passed": gap <= TOLERANCE}
    return found


def copies(name: str, provider: str, batch: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of a run whose outputs stay on the device against one whose outputs come to the host; the upload."""
    from onnx_gapmil.benchmarking.runs import ON_DEVICE, BoundRun
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.benchmarking.timing import Spread, interleave, ratios
    from onnx_gapmil.graph.inputs import random_input
    from onnx_gapmil.ort.providers import choose_providers
    from onnx_gapmil.ort.values import to_ort_value

    choice = choose_providers(provider)
    variants, inputs = _prepared(name, ("features,grid", "topk:5"), batch)
    image = random_input(inputs[0])
    device = "cuda" if choice.used in ON_DEVICE else "cpu"
    found: dict[str, Any] = {}
    for variant in variants:
        session = timed_session(variant.model.session_source()[0], choice, what=variant.name)
        kept, fetched = (
            BoundRun(session, inputs, variant.outputs, choice.used, variant.name, keep=keep) for keep in (True, False)
        )
        times, _ = interleave([kept, fetched], seconds=seconds)
        fetched()
        size = sum(array.nbytes for array in fetched.arrays())
        found[variant.name] = {
            "kept_ms": 1e3 * Spread.of(times[0]).median,
            "fetched_ms": 1e3 * Spread.of(times[1]).median,
            "ratio": ratios(times[1], times[0]).to_json(),
            "bytes": size,
        }
    (upload,), _ = interleave([lambda: to_ort_value(image, device)], seconds=min(seconds, 2.0))
    return {"graphs": found, "upload_ms": 1e3 * Spread.of(upload).median, "upload_bytes": image.nbytes}


def tensor_float(name: str, provider: str, batch: int, seconds: float) -> dict[str, Any]:
    """What TensorFloat-32 saves, and what it changes in the grid."""
    from onnx_gapmil.benchmarking.runs import BoundRun
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.benchmarking.timing import Spread, interleave, ratios
    from onnx_gapmil.ort.providers import choose_providers

    variants, inputs = _prepared(name, ("grid",), batch)
    runs: list[BoundRun] = []
    for allowed in (False, True):
        choice = choose_providers(provider, allow_tf32=allowed)
        session = timed_session(variants[1].model.session_source()[0], choice, what="grid")
        runs.append(BoundRun(session, inputs, variants[1].outputs, choice.used, "grid"))
    times, _ = interleave(runs, seconds=seconds)
    exact, rounded = (_arrays(run, variants[1]) for run in runs)
    changed = {key: entry["difference"] for key, entry in compare(exact, rounded).items() if "difference" in entry}
    return {
        "float32_ms": 1e3 * Spread.of(times[0]).median,
        "tf32_ms": 1e3 * Spread.of(times[1]).median,
        "ratio": ratios(times[1], times[0]).to_json(),
        "difference": changed,
    }


def cuda_graphs(name: str, provider: str, batch: int, seconds: float) -> dict[str, Any]:
    """Each graph launched node by node against captured once as a CUDA graph and replayed; outputs on the device."""
    from onnx_gapmil.benchmarking.runs import BoundRun
    from onnx_gapmil.benchmarking.sessions import timed_session
    from onnx_gapmil.benchmarking.timing import Spread, interleave, ratios
    from onnx_gapmil.errors import GapmilError
    from onnx_gapmil.ort.providers import choose_providers

    choice = choose_providers(provider)
    options = {"enable_cuda_graph": "1"} if provider != "cpu" else {}
    variants, inputs = _prepared(name, EMISSIONS, batch)
    found: dict[str, Any] = {}
    for variant in variants:
        data, _ = variant.model.session_source()
        plain = BoundRun(
            timed_session(data, choice, what=variant.name), inputs, variant.outputs, choice.used, "plain", keep=True
        )
        plain()
        try:
            session = timed_session(data, choice, what=variant.name, provider_options=options)
            replayed = BoundRun(session, inputs, variant.outputs, choice.used, "replayed", keep=True, like=plain)
            replayed()  # captured by this one
        except GapmilError as error:
            found[variant.name] = {"refused": str(error)}
            continue
        times, _ = interleave([plain, replayed], seconds=seconds)
        found[variant.name] = {
            "plain_ms": 1e3 * Spread.of(times[0]).median,
            "replayed_ms": 1e3 * Spread.of(times[1]).median,
            "ratio": ratios(times[1], times[0]).to_json(),
            "outputs": compare(_arrays(plain, variant), _arrays(replayed, variant)),
        }
    return found


def _arrays(run: BoundRun, variant: Variant) -> dict[str, np.ndarray]:
    return dict(zip(variant.outputs, run.arrays(), strict=True))


def write_photos(folder: Path, count: int, seed: int = 0) -> None:
    """Smooth random colour photos of 640x480 as JPEG: what decoding costs depends on their size."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    for index in range(count):
        small = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)
        picture.save(folder / f"photo_{index:05}.jpg", quality=90)


def predict_speed(name: str, provider: str, counts: tuple[int, int], batch: int, seconds: float) -> dict[str, Any]:
    """Images per second of the command ``predict``, decoding and writing included, against the bare session's.

    Two runs of different length, so that the start-up falls out of their difference.
    """
    from onnx_gapmil.benchmarking.benchmark import bench
    from onnx_gapmil.benchmarking.plan import BenchPlan

    size = None if shapes.SHAPES[name].fixed else (224, 224)
    batches = tuple(dict.fromkeys((8, 32, batch)))
    plan = BenchPlan(("grid",), batches, (provider,), (), size, seconds, memory=False)
    (series,) = bench(shapes.build(name), plan).series
    bare = max(entry.images_per_second for entry in series.measurements if entry.graph == "original")
    found: dict[str, Any] = {"bare_images_per_second": bare}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = folder / f"{name}.onnx"
        model.write_bytes(shapes.build(name).SerializeToString())
        (folder / "photos").mkdir()
        write_photos(folder / "photos", counts[1])
        photos = sorted(str(path) for path in (folder / "photos").iterdir())
        for kind, options in (
            ("npz and JSON", ["--save", "npz", "--no-pictures"]),
            ("pictures too", ["--save", "npz"]),
        ):
            taken = []
            for count in counts:
                command = [sys.executable, "-m", "onnx_gapmil", "predict", str(model), *photos[:count]]
                command += ["-o", str(folder / "out"), "--provider", provider, "--batch", str(batch), *options]
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True, cwd=pages.ROOT)
                taken.append(time.perf_counter() - start)
            rate = (counts[1] - counts[0]) / (taken[1] - taken[0])
            found[kind] = {"images_per_second": rate, "of_bare": rate / bare, "seconds": taken, "photos": list(counts)}
    return found


def machine() -> dict[str, Any]:
    """What ``doctor`` says of this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "onnx_gapmil", "doctor", "--json"],
        check=False,
        capture_output=True,
        text=True,
        cwd=pages.ROOT,
    )
    return dict(json.loads(done.stdout))
