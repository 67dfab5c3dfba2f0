"""What must become of real classifiers by others: verdicts of their ``manifest.json``, and what their grids find.

Neither the images nor the models are part of this project: they lie in ``../shared/real``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.references.independent import QUANTIZED_TOLERANCE, TOLERANCE, Claim, Source, check_claim
from tests.references.vendor import Vendor, open_model
from tests.references.zoo import FLATTENED_HEADS

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
#: Models that must be lifted, or refused if their name starts with ``neg_``; the others are shown.
REQUIRED = (
    "in1k_mobilenetv2_100_224_tflite_fp32",
    "in1k_darknettiny_keras_nhwc",
    "in1k_squeezenet_fp16_caffe2",
    "cifar10_mlperf_resnet8_keras",
    "flowers_mobilenetv2_035_stm_nchw",
    "food101_fastvit_torch21_224",
    "fer_mini_xception_keras",
    "textdir_ppocr_cls_paddle2onnx_a",
    "neg_light_alexnet_caffe2",
    "neg_mnist_cntk",
    "neg_recycling_matlab_fcasconv",
    "neg_detector_ssd_stm",
)
#: Those of them that are fully connected over a flattened map: see ``zoo.FLATTENED_HEADS``.
FLATTENED = ("neg_light_alexnet_caffe2", "neg_mnist_cntk", "neg_recycling_matlab_fcasconv")
#: Objects found by the grid, named by the image's top-1, and by its top-5, of 13.
OBJECTS = (10, 5, 9)


@dataclass
class Model:
    """What became of one model.

    Attributes:
        name: the file's stem.
        expected: the manifest's verdict: ``rewrite``, ``nonlinear-head`` or ``refuse``.
        got: ``exact``, ``conditional``, ``refused``, ``wrong`` or ``crashed``.
        code: of a refusal.
        grid: (H, W) of the first head.
        residual: mean over cells against the untouched logits, relative to max |logit|.
        cell_residual: cell by cell against the vendor's own head.
        why: the refusal's message, or what is wrong.
    """

    name: str
    expected: str
    got: str = "crashed"
    code: str = ""
    grid: tuple[int, ...] = ()
    residual: float | None = None
    cell_residual: float | None = None
    why: str = ""

    @property
    def met(self) -> bool:
        """Whether it did as the manifest expects."""
        if self.name in FLATTENED and FLATTENED_HEADS == "lift":
            return self.got in ("exact", "conditional")
        wanted = {"refuse": ("refused",), "nonlinear-head": ("conditional",)}
        return self.got in wanted.get(self.expected, ("exact", "conditional"))

    @property
    def required(self) -> bool:
        """Whether it must."""
        return self.name in REQUIRED


def read_manifest(real: Path) -> list[dict[str, Any]]:
    """The models of ``manifest.json``."""
    return list(json.loads((real / "manifest.json").read_text("utf-8"))["models"])


def check_model(entry: dict[str, Any], real: Path, max_cells: int = 49) -> Model:
    """Lift one model, and check its grids as the zoo's are; never raises for what the package does."""
    from onnx_gapmil import GapmilError, UnsupportedHeadError, rewrite

    path = real / entry["file"]
    row = Model(path.stem, entry["expected_verdict"])
    try:
        result = rewrite(path, write=False)
    except UnsupportedHeadError as error:
        row.got, row.code, row.why = "refused", error.refusal.code, error.refusal.message
        return row
    except GapmilError as error:
        row.got, row.why = "wrong", str(error).replace(f"{real}/", "")
        return row
    except Exception as error:  # noqa: BLE001 - a crash is what the table is there to find
        row.why = f"{type(error).__name__}: {error}"
        return row
    if "light" in path.stem:
        max_cells = min(max_cells, 8)  # constant weights, made anew in every run
    vendor = Vendor(path, inlined=result.inlined)
    session = open_model(result.model, path.parent)
    quantized = any(word in path.stem for word in ("qdq", "int8"))
    findings = []
    for head in result.heads:
        sources = tuple(Source(found.source, tuple(found.axes)) for found in head.feature_grids)
        grid = session.run([head.grid], vendor.feeds)[0]
        findings.append(check_claim(vendor, Claim(head.output, head.verdict, sources, grid, quantized), max_cells))
    problems = [problem for finding in findings for problem in finding.problems]
    row.got, row.why = "wrong" if problems else result.verdict, "; ".join(problems)
    row.grid = findings[0].size
    row.residual = max(finding.mean_residual for finding in findings)
    row.cell_residual = max((f.cell_residual for f in findings if f.cell_residual is not None), default=None)
    return row


class Classifier:
    """A lifted ImageNet model with the preprocessing that its manifest states.

    Attributes:
        classes: for each of its classes the ILSVRC label, -1 for background; int (K,).
    """

    def __init__(self, entry: dict[str, Any], real: Path) -> None:
        from onnx_gapmil import rewrite

        result = rewrite(real / entry["file"], write=False)
        self._recipe = entry["preprocessing"]
        self._head = result.heads[0]
        self._session = open_model(result.model, (real / entry["file"]).parent)
        (self._input,) = self._session.get_inputs()
        shape = [extent for extent in self._input.shape[1:] if extent not in (1, 3)]
        self._size = (int(shape[1]), int(shape[0]))
        self.classes = _label_of_class(real, entry, int(self._head.grid_shape[1]))

    def grid(self, pixels: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> tuple[np.ndarray, np.ndarray]:
        """Logits (K,) and grid (K, H, W) of one image (H, W, 3), uint8 BGR, squashed to the input."""
        squashed = cv2.resize(pixels, self._size, interpolation=interpolation)
        if self._recipe["color"] == "RGB":
            squashed = squashed[:, :, ::-1]
        dtype = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(self._input.type, np.float32)
        gain = 1 / 255 if self._recipe["scale"] == "1/255" else 1.0
        values = squashed if dtype is np.uint8 else (squashed * gain - self._recipe["mean"]) / self._recipe["std"]
        values = values.transpose(2, 0, 1) if self._recipe["layout"] == "NCHW" else values
        feeds = {self._input.name: np.ascontiguousarray(values[None], dtype=dtype)}
        logits, grid = self._session.run([self._head.logits, self._head.grid], feeds)
        return logits[0].astype(np.float64), grid[0].astype(np.float64)


def _label_of_class(real: Path, entry: dict[str, Any], count: int) -> np.ndarray:
    """The ILSVRC label of each class: offset by one behind a background class, or by synset."""
    if count == 1001:
        return np.arange(-1, 1000)
    folder = real / "models"
    synsets = [
        line.split()[0] for line in (folder / "labels/imagenet1000_synset_words.txt").read_text("utf-8").splitlines()
    ]
    own = [line.split()[0] for line in (folder / entry["labels"]).read_text("utf-8").splitlines() if line]
    return np.array([synsets.index(synset) for synset in own])


def accuracy(entry: dict[str, Any], real: Path, images: int | None = None) -> dict[str, np.ndarray]:
    """Which images are right: bool (images,) for ``top1`` and ``top5``, by the logits and by the mean over cells."""
    model = Classifier(entry, real)
    folder = real / "images" / "ilsvrc_val_227"
    hits: dict[str, list[bool]] = {"top1": [], "top5": [], "grid_top1": [], "grid_top5": []}
    for record in json.loads((folder / "annotations.json").read_text("utf-8"))[:images]:
        logits, grid = model.grid(cv2.imread(str(folder / record["file"])))
        for scores, prefix in ((logits, ""), (grid.mean(axis=(1, 2)), "grid_")):
            best = model.classes[np.argsort(-scores, kind="stable")[:5]]
            hits[f"{prefix}top1"].append(bool(best[0] == record["label"]))
            hits[f"{prefix}top5"].append(record["label"] in best)
    return {name: np.array(right) for name, right in hits.items()}


def several_objects(entry: dict[str, Any], real: Path) -> list[dict[str, Any]]:
    """For each object in the photos that hold several: is it found by the grid, by the image's top-1, by its top-5.

    The grid finds an object if one of its ids is the largest logit of a cell that lies at least half in its box.
    """
    model = Classifier(entry, real)
    folder = real / "images" / "photos"
    result = []
    for file, objects in json.loads((folder / "multi_object_boxes.json").read_text("utf-8"))["images"].items():
        logits, grid = model.grid(cv2.imread(str(folder / file)), cv2.INTER_AREA)
        cells = model.classes[grid.argmax(axis=0)]
        best = model.classes[np.argsort(-logits, kind="stable")[:5]]
        for thing in objects:
            inside = _share_in_box(grid.shape[1:], thing["box"]) >= 0.5
            result.append(
                {
                    "photo": file,
                    "object": thing["name"],
                    "grid": bool(np.isin(cells[inside], thing["ids"]).any()),
                    "top1": bool(best[0] in thing["ids"]),
                    "top5": bool(np.isin(best, thing["ids"]).any()),
                }
            )
    return result


def _share_in_box(size: tuple[int, int], box: list[float]) -> np.ndarray:
    """How much of each cell's area lies in a box of fractions x0, y0, x1, y1; (H, W)."""
    spans = []
    for count, low, high in ((size[0], box[1], box[3]), (size[1], box[0], box[2])):
        edges = np.arange(count + 1) / count
        spans.append(np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * count)
    return np.outer(spans[0], spans[1])


def tolerance(entry: dict[str, Any]) -> float:
    """What the residual may be, by the model's type."""
    if any(word in entry["file"] for word in ("qdq", "int8")):
        return QUANTIZED_TOLERANCE
    return TOLERANCE[2 if "f16" in "".join(entry["inputs"]) else 4]
