"""`make demo`: look at a sample model, audit it, and judge two that are to replace it, by the commands of a user."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from onnx_gapmil import GridSession
from onnx_gapmil.images.decode import read_image
from onnx_gapmil.images.resolve import resolve_preprocess
from tools.quantized import quantize

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = Path("sample_models")
MODEL = SAMPLES / "digits_torch_legacy.onnx"
SCENES = SAMPLES / "scenes"
OUT = Path("demo_output")
REWRITTEN = OUT / "digits_torch_legacy.gapmil.onnx"
CERTIFICATE = OUT / "digits_torch_legacy.cert.json"
POLICY = Path("docs") / "recipes" / "gapmil.toml"


def main() -> int:
    """Run the verbs one after the other; returns the exit code of the first that fails."""
    shutil.rmtree(ROOT / OUT, ignore_errors=True)
    (ROOT / OUT).mkdir()
    make_scenes(OUT / "scenes")
    for arguments in (
        ["inspect", MODEL],
        ["rewrite", MODEL, "-o", REWRITTEN, "--certificate", CERTIFICATE],
        ["verify", MODEL, REWRITTEN, "--certificate", CERTIFICATE],
        ["predict", MODEL, SCENES, "-o", OUT / "predictions"],
        ["audit", MODEL, OUT / "scenes", "-o", OUT / "audit"],
    ):
        if code := run([str(argument) for argument in arguments]):
            return code
    print(summary())
    return judge()


def judge() -> int:
    """Two integer models by one policy: one that was calibrated on dim photos, and one on usual ones."""
    scenes = sorted((ROOT / OUT / "scenes").glob("*.png"))
    for name, photos, light, expected in (("dim", scenes[:4], 0.35, 1), ("usual", scenes[:32], 1.0, 0)):
        model = OUT / name / "digits_int8.onnx"
        quantize(ROOT / MODEL, photos, ROOT / model, light=light)
        print(f"\nAn int8 model, calibrated on {len(photos)} {name} photos: may it replace the float one?")
        files = ["--junit", OUT / name / "check.xml", "--attestation", OUT / name / "check.intoto.json"]
        command = ["check", model, "--policy", POLICY, "--data", OUT / "scenes", "--against", MODEL]
        code = run([str(argument) for argument in [*command, "-o", OUT / name, *files]])
        if code != expected:
            return code or 1
    print(f"\nWhere the first one fails: {OUT / 'dim' / 'compare' / 'report.html'}")
    return 0


def make_scenes(folder: Path) -> None:
    """Draw scenes that the model has not seen, enough of them for an audit."""
    command = [sys.executable, "sample_models/scenes.py", "--count", "200", "--seed", "7", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603


def run(arguments: list[str]) -> int:
    """Show a command as the user would type it, run it, return its exit code."""
    print(f"\n$ {shlex.join(['onnx-gapmil', *arguments])}", flush=True)
    command = [sys.executable, "-m", "onnx_gapmil", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603


def summary() -> str:
    """Count the digits that the image-level prediction names, and those that the prediction grid finds."""
    session = GridSession(ROOT / MODEL)
    preprocess = resolve_preprocess(
        session.input, request=None, model_path=ROOT / MODEL, metadata=session.metadata
    ).preprocess
    digits = named = found = 0
    scenes = json.loads((ROOT / SCENES / "scenes.json").read_text(encoding="utf-8"))
    for scene in scenes:
        image = read_image(ROOT / SCENES / scene["image"])
        (result,) = session.run(preprocess.apply(image)[0][None])
        best, top1 = result.grid[0].argmax(axis=0), int(result.logits[0].argmax())
        for digit in scene["objects"]:
            digits += 1
            named += top1 == digit["class"]
            inside = cells_inside(best, digit["box"], image.shape[:2]) == digit["class"]
            found += inside.size > 0 and inside.mean() > 0.5
    return (
        f"\n{len(scenes)} scenes show {digits} digits. The image-level prediction names one in each, "
        f"{named} of them rightly.\nIn the prediction grid {found} are found: "
        "most cells whose centres lie in the digit's box have it as their best class.\n\n"
        f"Pictures: {OUT / 'predictions'}   Report: {OUT / 'audit' / 'report.html'}   Rewritten model: {REWRITTEN}"
    )


def cells_inside(cells: np.ndarray, box: list[int], size: tuple[int, int]) -> np.ndarray:
    """Return the entries of `cells` (H, W) whose centres lie in `box`: [x0, y0, x1, y1] in pixels."""
    x0, y0, x1, y1 = box
    rows = (np.arange(cells.shape[0]) + 0.5) * size[0] / cells.shape[0]
    columns = (np.arange(cells.shape[1]) + 0.5) * size[1] / cells.shape[1]
    return cells[np.ix_((rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1))]


if __name__ == "__main__":
    sys.exit(main())
