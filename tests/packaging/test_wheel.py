"""What a user gets who installs the wheel: the package whole, and typed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
from pathlib import Path

import numpy as np
import numpy.typing as npt

import onnx_gapmil
from onnx_gapmil import Aggregator, Classifier, Emit, GapmilError, GridSession, Preprocess


def look(model: Path, photo: str) -> npt.NDArray[np.uint8]:
    found = Classifier(model).predict(photo)
    names, places = found.names, found.places
    if found.grid is not None and names is not None and places is not None:
        print(found.grid.shape, names[0], places[0, 0], found.logits.mean(), found.table().num_rows)
    several = Classifier(model, names=["a", "b"]).predict([photo, photo])
    print([entry.heads[0].top[0].label for entry in several])
    return found.overlay()


def check(model: str) -> bool:
    inspection = onnx_gapmil.inspect(model)
    rewrite = onnx_gapmil.rewrite(model, emit=Emit(topk=5), write=False)
    proof = onnx_gapmil.verify(model, "m.gapmil.onnx")
    print(inspection.verdict, rewrite.heads[0].grid_shape, proof.reasons())
    return proof.passed


def run(model: str, batch: npt.NDArray[np.float32], preprocess: Preprocess) -> npt.NDArray[np.float64]:
    session = GridSession(model)
    (grid, *_) = session.run(batch)
    if grid.grid is None:
        raise ValueError
    print(preprocess.to_json(), onnx_gapmil.load_preprocess("imagenet", input_spec=session.input))
    return Aggregator("max")(grid.grid)


def measure(model: str, data: str) -> float:
    try:
        summary = onnx_gapmil.audit(model, data, "out")
    except GapmilError as error:
        raise SystemExit(error.exit_code) from error
    predictions = onnx_gapmil.predict(model, "photos")
    print(len(predictions), predictions.to_json(), onnx_gapmil.open_data(data).source)
    print(onnx_gapmil.bench(model).to_json(), onnx_gapmil.diagnose().works, onnx_gapmil.read_image("a.png").shape)
    return summary.top1
"""
#: Each is wrong by one type, and must be found.
MISTAKES = (
    'look(3, "photo.jpg")',
    'check(b"model.onnx")',
    'size: int = Classifier("m.onnx").predict("photo.jpg").grid',
    'found: str = onnx_gapmil.inspect("m.onnx")',
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where an installer puts it, in an environment that has its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False)
    (site,) = environment.rglob("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def outside() -> dict[str, str]:
    """An environment in which nothing points at the checkout."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MYPYPATH")}


def checked(installed: Path, script: str) -> subprocess.CompletedProcess[str]:
    (installed / "user.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python_of(installed)), "user.py"]
    cache = ["--cache-dir", str(installed / "cache")]
    return subprocess.run([*command, *cache], cwd=installed, env=outside(), capture_output=True, text=True, check=False)


def test_a_users_script_passes_strict_type_checking(installed: Path) -> None:
    found = checked(installed, SCRIPT)
    assert found.returncode == 0, found.stdout + found.stderr


def test_and_its_mistakes_are_found(installed: Path) -> None:
    found = checked(installed, SCRIPT + "\n\n" + "\n".join(MISTAKES) + "\n")
    first = SCRIPT.count("\n") + 3
    lines = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    assert lines == set(range(first, first + len(MISTAKES))), found.stdout


def test_the_wheel_runs_and_has_the_pages_style_and_script(installed: Path) -> None:
    code = (
        "import importlib.resources as r, onnx_gapmil; "
        "print(onnx_gapmil.__file__, r.files('onnx_gapmil.show.html').joinpath('assets', 'base.css').is_file(), "
        "onnx_gapmil.inspect('digits_torch_legacy.onnx').verdict)"
    )
    found = subprocess.run(
        [python_of(installed), "-c", code],
        cwd=ROOT / "sample_models",
        env=outside(),
        capture_output=True,
        text=True,
        check=True,
    )
    where, styled, verdict = found.stdout.split()
    assert Path(where).is_relative_to(installed)
    assert (styled, verdict) == ("True", "exact")


def test_the_wheel_brings_the_fonts_and_their_licence_and_stays_small(installed: Path) -> None:
    (fonts,) = (path for path in installed.rglob("show/drawing/fonts") if ".dist-info" not in str(path))
    assert {"NotoSans-Regular.ttf", "NotoSansArabic-Regular.ttf", "NotoSansCJK-Regular.otf"} <= {
        path.name for path in fonts.iterdir()
    }
    assert "SIL OPEN FONT LICENSE" in (fonts / "OFL.txt").read_text(encoding="utf-8")
    (licences,) = installed.rglob("onnx_gapmil-*.dist-info/licenses")
    assert {path.name for path in licences.rglob("*.*")} >= {"OFL.txt", "licences.md"}
    (metadata,) = installed.rglob("onnx_gapmil-*.dist-info/METADATA")
    assert "License-Expression: Apache-2.0 AND OFL-1.1" in metadata.read_text(encoding="utf-8")
    (wheel,) = installed.parent.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = sum(entry.compress_size for entry in archive.infolist() if "/fonts/" in entry.filename)
    assert packed < 3 * 2**20
