"""Do cells look where it is said? Windowed, gridded and hierarchical models: Swin, MaxViT, ConvNeXt, Mamba, Hiera.

timm's models are exported anew by both PyTorch exporters, with random weights, in an interpreter of its own that has
torch and timm (that of ``make zoo`` by default). Then patches of the image are replaced, by ONNX Runtime and NumPy
alone, and the cells that they move are held against the places that the rewritten model says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.families --markdown docs/benchmarks/families.md"
#: timm's model, what is cut of it, and the height and width that it is exported at.
MODELS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "swin_tiny_patch4_window7_224": ({"depths": (2, 2, 2, 2)}, (224, 224)),
    "swin_s3_tiny_224": ({"depths": (2, 2, 2, 2)}, (224, 224)),
    "swinv2_cr_tiny_ns_224": ({"depths": (2, 2, 2, 2)}, (224, 224)),
    "test_maxvit": ({}, (160, 160)),
    "maxvit_rmlp_pico_rw_256": ({}, (256, 256)),
    "coatnet_pico_rw_224": ({}, (224, 224)),
    "test_convnext": ({}, (160, 192)),
    "convnextv2_atto": ({}, (160, 192)),
    "test_mambaout": ({}, (160, 192)),
    "hiera_tiny_224": ({}, (224, 224)),
    "efficientvim_m1": ({}, (224, 224)),
    "gcvit_xxtiny": ({}, (224, 224)),
    "csatv2": ({}, (256, 256)),
}
EXPORTERS = ("torch legacy", "torch dynamo")
#: Patches a side that are replaced, one after the other, and base images.
_PATCHES, _IMAGES = 7, 2


@dataclass(frozen=True)
class Row:
    """One exported model.

    Attributes:
        model: timm's name.
        exporter: which.
        verdict: of its head, or why there is none.
        size: of the grid.
        places: where its cells are said to look, along rows and columns; or why that is not known.
        proof: the worst figure of the package's own stimulus, as a share of what is allowed.
        correlation: of where patches are and where the cells lie that they move, along rows and columns.
        error: mean distance of the two in cells, along rows and columns.
    """

    model: str
    exporter: str
    verdict: str
    size: str = ""
    places: str = ""
    proof: str = ""
    correlation: tuple[float, ...] = ()
    error: tuple[float, ...] = ()

    @property
    def right(self) -> bool | None:
        """Whether what is claimed was seen; None where nothing is claimed."""
        if not self.correlation:
            return None
        return min(self.correlation) > 0.9 and max(self.error) < 1.0


def export(name: str, exporter: str, path: Path) -> None:
    """In the interpreter that has torch: write one model."""
    import torch

    from benchmarks.zoo import torch_common  # before timm, which imports torchvision

    import timm  # isort: skip

    shorter, (height, width) = MODELS[name]
    torch.manual_seed(0)
    model = timm.create_model(name, exportable=True, num_classes=torch_common.CLASSES, **shorter).eval()
    image = torch.randn(2, 3, height, width)
    torch_common.settle(model, image)
    print(json.dumps(torch_common.export(model, image, exporter, path)))


def seen(path: Path, model: str, exporter: str) -> Row:
    """Rewrite a model and look at it from outside."""
    from onnx_gapmil.errors import GapmilError
    from onnx_gapmil.rewriting.verbs import rewrite

    try:
        made = rewrite(path, write=False)
    except GapmilError as error:
        return Row(model, exporter, str(getattr(getattr(error, "refusal", None), "code", error)))
    head = made.heads[0]
    size = "x".join(map(str, head.feature_grids[0].size))
    if not head.places.known or head.places.rows is None or head.places.columns is None:
        return Row(model, exporter, head.verdict, size, head.places.reason)
    lines = head.places.rows, head.places.columns
    assert made.proof is not None
    proof = next(check for check in made.proof.checks if check.name == "place").joint
    pairs = _pairs(made.model, head.features, [(line.first, line.step) for line in lines])
    said = "; ".join(f"{line.first:.1f} + {line.step:g} i" for line in lines)
    share = f"{proof.measure:.2f}" if proof.measure is not None else proof.skipped
    return Row(model, exporter, head.verdict, size, said, share, *_compared(pairs))


def _pairs(model: Any, features: str | None, lines: Sequence[tuple[float, float]]) -> np.ndarray:
    """Where patches lie and where the cells lie that they move, in cells, (patches, 2, 2)."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    height, width = entry.shape[2:]
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else 1
    moved = 0.0
    centres = [(np.arange(_PATCHES) + 0.5) / _PATCHES * side for side in (height, width)]
    for seed in range(_IMAGES):
        rng = np.random.default_rng(seed)
        image, other = (rng.standard_normal((1, 3, height, width), dtype=np.float32) for _ in range(2))
        maps = []
        for number in range(-1, _PATCHES**2):
            changed = image.copy()
            if number >= 0:
                (top, left), (high, wide) = divmod(number, _PATCHES), (height // _PATCHES, width // _PATCHES)
                part = (
                    slice(top * height // _PATCHES, top * height // _PATCHES + high),
                    slice(left * width // _PATCHES, left * width // _PATCHES + wide),
                )
                changed[..., part[0], part[1]] = other[..., part[0], part[1]]
            maps.append(session.run([features], {entry.name: np.repeat(changed, batch, axis=0)})[0][0])
        moved = moved + np.square(np.asarray(maps[1:], np.float64) - maps[0]).sum(axis=1)
    found = []
    for number, change in enumerate(np.asarray(moved)):
        local = np.maximum(change - np.median(change), 0)
        middle = [(np.arange(side) * local.sum(axis=1 - axis)).sum() for axis, side in enumerate(local.shape)]
        at = divmod(number, _PATCHES)
        said = [(centres[axis][at[axis]] - lines[axis][0]) / lines[axis][1] for axis in (0, 1)]
        found.append([said, [value / local.sum() for value in middle]])
    return np.asarray(found)


def _compared(pairs: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    import numpy as np

    inner = pairs[[all(0 < each < _PATCHES - 1 for each in divmod(number, _PATCHES)) for number in range(len(pairs))]]
    correlation = tuple(float(np.corrcoef(inner[:, 0, axis], inner[:, 1, axis])[0, 1]) for axis in (0, 1))
    return correlation, tuple(float(np.abs(inner[:, 0, axis] - inner[:, 1, axis]).mean()) for axis in (0, 1))


def rows(python: Path, names: Sequence[str]) -> Iterator[Row]:
    """All models by both exporters."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for exporter in EXPORTERS:
                path = Path(folder) / "model.onnx"
                command = [str(python), "-m", "benchmarks.families", "--export", name, exporter, str(path)]
                made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
                if made.returncode or not path.is_file():
                    said = made.stderr.strip().splitlines() or ["no file"]
                    yield Row(name, exporter, f"not exported: {said[-1][:80]}")
                    continue
                yield seen(path, name, exporter)
                for left in Path(folder).iterdir():
                    left.unlink()


def markdown(found: Sequence[Row]) -> list[str]:
    """The page."""
    from benchmarks import pages

    right, wrong = (sum(row.right is value for row in found) for value in (True, False))
    return [
        "# Places of windowed, gridded and hierarchical models",
        "",
        *pages.made_by(COMMAND),
        "",
        "timm's models with random weights, some cut to two blocks a stage. 7 x 7 patches of two images were replaced, "
        "one after the other, on ONNX Runtime alone: where the cells lie that the inner 25 move most, against where it "
        "is said that they look. Random windows and convolutions blur that; a wrong order would not correlate.",
        "",
        f"{right} of {len(found)} exports have places that are right, {wrong} wrong ones.",
        "",
        *pages.table(
            [
                "model",
                "exporter",
                "verdict",
                "grid",
                "places: rows; columns",
                "own proof",
                "correlation",
                "error, cells",
            ],
            ([*_cells(row)] for row in found),
            numbers_from=5,
        ),
    ]


def _cells(row: Row) -> list[str]:
    figures = [", ".join(f"{value:.2f}" for value in values) for values in (row.correlation, row.error)]
    return [row.model, row.exporter, row.verdict, row.size, row.places, row.proof, *figures]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="of timm's; default: all that are listed here")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-zoo" / "torch" / "bin" / "python")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page there")
    parser.add_argument("--export", nargs=3, metavar=("MODEL", "EXPORTER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        export(options.export[0], options.export[1], Path(options.export[2]))
        return 0
    from benchmarks import pages

    found = []
    for row in rows(options.python, options.models or list(MODELS)):
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    lines = markdown(found)
    print("\n".join(lines))
    pages.write(options.markdown, lines)
    return int(any(row.right is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
