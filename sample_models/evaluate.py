"""Checks a sample model, measures it with ONNX Runtime, and writes the files that lie beside it.

A model NAME.onnx has NAME.preprocess.json (how an image becomes its input), NAME.labels.txt (its
classes, in order) and NAME.card.json (where it comes from and how good it is). The figures of a
card are measured here, on the exported file, with digits that were never trained on.

    python sample_models/evaluate.py            # measures every model, rewrites README.md's table
    python sample_models/evaluate.py --table    # rewrites the table alone
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from scenes import CLASS_NAMES, SCENE_SIZE, SceneSet, make_scene_set

FloatArray = NDArray[np.float32]

FOLDER = Path(__file__).parent
HELD_OUT_SEED = 2
HELD_OUT_SCENES = 1000
_TOLERANCE = 1e-4  # between the framework's outputs and ONNX Runtime's, absolute
_CHUNK = 100  # scenes in one run
_GRID_ENDS = ("GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceSum", "Gather")
_TABLE_MARKS = ("<!-- table -->", "<!-- /table -->")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How RGB scenes become a model's input: `(pixel * scale - mean) / std`, in a layout.

    The fields are those of the tool's preprocessing files. `mean` and `std` have one value for each
    channel.
    """

    layout: Literal["NCHW", "NHWC"]
    color: str = "RGB"
    size: tuple[int, int] = (SCENE_SIZE, SCENE_SIZE)
    resize: str = "squash"
    crop: float = 1.0
    interpolation: str = "bilinear"
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: str = "float32"

    def apply(self, images: NDArray[np.uint8]) -> FloatArray:
        """Turns RGB uint8 (N, 96, 96, 3) into float32 of shape (N, 3, 96, 96), or as it was."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        values = (images.astype(np.float32) * np.float32(self.scale) - mean) / std
        if self.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values)

    @classmethod
    def read(cls, path: Path) -> Preprocess:
        """Reads a .preprocess.json file."""
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        size, mean, std = (tuple(fields.pop(name)) for name in ("size", "mean", "std"))
        return cls(**fields, size=size, mean=mean, std=std)

    def write(self, path: Path) -> None:
        """Writes a .preprocess.json file."""
        lines = [f'  "{name}": {json.dumps(value)}' for name, value in asdict(self).items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


@dataclass(frozen=True)
class Origin:
    """What only the training script knows of a model; `parameters` counts the trained values."""

    framework: str
    framework_version: str
    exporter: str
    parameters: int


def finish(name: str, preprocess: Preprocess, origin: Origin, reference: Callable[[FloatArray], FloatArray]) -> None:
    """Checks an exported NAME.onnx and writes its preprocessing, labels and card.

    `reference` maps model inputs to the framework's own outputs (N, 10). Raises ValueError where
    ONNX Runtime differs.
    """
    path = FOLDER / f"{name}.onnx"
    difference = check_export(path, preprocess, reference)
    write_companions(FOLDER / name, preprocess)
    card = {**asdict(origin), **describe(path), "held_out": measure(path, preprocess)}
    (FOLDER / f"{name}.card.json").write_text(_json(card), encoding="utf-8")
    print(f"{path.name}: differs from the framework by {difference:.1e}")
    print(_json(card))


def write_companions(stem: Path, preprocess: Preprocess) -> None:
    """Writes STEM.preprocess.json and STEM.labels.txt, which the tool finds beside STEM.onnx."""
    preprocess.write(stem.with_name(f"{stem.name}.preprocess.json"))
    names = "\n".join(CLASS_NAMES) + "\n"
    stem.with_name(f"{stem.name}.labels.txt").write_text(names, encoding="utf-8")


def check_export(path: Path, preprocess: Preprocess, reference: Callable[[FloatArray], FloatArray]) -> float:
    """Runs the ONNX checker, then compares ONNX Runtime with the framework at two batch sizes.

    Returns the greatest absolute difference of the outputs; raises ValueError above 1e-4.
    """
    onnx.checker.check_model(onnx.load(path), full_check=True)
    scenes = make_scene_set("held_out", HELD_OUT_SEED, 7)
    session = open_session(path)
    greatest = 0.0
    for size in (1, len(scenes.labels)):
        inputs = preprocess.apply(scenes.images[:size])
        outputs = run(session, inputs)
        expected = np.asarray(reference(inputs))
        if outputs.shape != (size, len(CLASS_NAMES)):
            raise ValueError(f"{path.name}: a batch of {size} gives an output of shape {outputs.shape}")
        greatest = max(greatest, float(np.abs(outputs - expected).max()))
    if not greatest <= _TOLERANCE:
        raise ValueError(f"{path.name}: differs from the framework by {greatest:.1e}")
    return greatest


def describe(path: Path) -> dict[str, Any]:
    """Returns what the file itself says: its opset, and its head's operators from the pool on."""
    model = onnx.load(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return {"opset": opset, "head": ", ".join(head_chain(model))}


def head_chain(model: onnx.ModelProto) -> list[str]:
    """Returns the operators from the pool (or the choice of the class token) to the first output.

    A plain walk back along each node's first computed input, which is enough for the models here.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    chain: list[str] = []
    node = producers.get(model.graph.output[0].name)
    while node is not None:
        chain.append(node.op_type)
        if node.op_type in _GRID_ENDS:
            break
        node = next((producers[name] for name in node.input if _is_computed(producers.get(name))), None)
    return chain[::-1]


def _is_computed(node: onnx.NodeProto | None) -> bool:
    """Says whether a tensor comes from a node that depends on the image."""
    return node is not None and node.op_type not in ("Constant", "Shape", "ConstantOfShape")


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Opens a model on the CPU."""
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, inputs: FloatArray) -> FloatArray:
    """Returns the first output (N, 10) for model inputs, a hundred scenes at a time."""
    name = session.get_inputs()[0].name
    chunks = np.split(inputs, range(_CHUNK, len(inputs), _CHUNK))
    return np.concatenate([session.run(None, {name: chunk})[0] for chunk in chunks])


def measure(path: Path, preprocess: Preprocess) -> dict[str, float]:
    """Measures a model on held-out scenes.

    Returns `scenes`, how many; `top1_label`, the share whose top-1 class is the scene's one label
    (with several digits in a scene, chance decides much of it); `top1_present`, the share whose
    top-1 class is in the scene; and `single_digit_top1`, the accuracy on as many other held-out
    scenes of one digit.
    """
    session = open_session(path)
    mixed = make_scene_set("held_out", HELD_OUT_SEED, HELD_OUT_SCENES)
    single = make_scene_set("held_out", HELD_OUT_SEED + 1, HELD_OUT_SCENES, count=1)
    top1 = _top1(session, preprocess, mixed)
    top1_single = _top1(session, preprocess, single)
    return {
        "scenes": HELD_OUT_SCENES,
        "top1_label": _share(top1 == mixed.labels),
        "top1_present": _share(mixed.present[np.arange(len(top1)), top1]),
        "single_digit_top1": _share(top1_single == single.labels),
    }


def _top1(session: onnxruntime.InferenceSession, preprocess: Preprocess, scenes: SceneSet) -> NDArray[np.intp]:
    """Returns the top-1 class of each scene, (N,)."""
    return run(session, preprocess.apply(scenes.images)).argmax(1)


def _share(hits: NDArray[np.bool_]) -> float:
    """Returns the share of true values, to four places."""
    return round(float(hits.mean()), 4)


def measure_again(card_path: Path) -> None:
    """Measures a card's model and rewrites the card's figures."""
    stem = card_path.name.removesuffix(".card.json")
    path, preprocess = FOLDER / f"{stem}.onnx", Preprocess.read(FOLDER / f"{stem}.preprocess.json")
    card = json.loads(card_path.read_text(encoding="utf-8"))
    card |= {**describe(path), "held_out": measure(path, preprocess)}
    card_path.write_text(_json(card), encoding="utf-8")


def table() -> str:
    """Returns the cards as a Markdown table."""
    lines = [
        "| model | framework | exporter | opset | parameters | size | head, pool to output "
        "| top-1 is the label | top-1 is present | one digit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(FOLDER.glob("*.card.json")):
        name = path.name.removesuffix(".card.json")
        card = json.loads(path.read_text(encoding="utf-8"))
        held_out = card["held_out"]
        shares = (held_out[key] for key in ("top1_label", "top1_present", "single_digit_top1"))
        cells = [
            f"`{name}`",
            f"{card['framework']} {card['framework_version']}",
            card["exporter"],
            str(card["opset"]),
            f"{card['parameters']:,}",
            f"{(FOLDER / f'{name}.onnx').stat().st_size / 1000:.0f} kB",
            f"`{card['head']}`",
            *(f"{share:.1%}" for share in shares),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_table() -> None:
    """Puts the table between its two marks in README.md."""
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in _TABLE_MARKS)
    start += len(_TABLE_MARKS[0])
    readme.write_text(f"{text[:start]}\n{table()}\n{text[end:]}", encoding="utf-8")


def _json(value: dict[str, Any]) -> str:
    """Returns a value as the text of a JSON file."""
    return json.dumps(value, indent=2) + "\n"


def main() -> None:
    """Measures every sample model again and rewrites the table of README.md."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--table", action="store_true", help="rewrite the table alone")
    if not parser.parse_args().table:
        for card_path in sorted(FOLDER.glob("*.card.json")):
            measure_again(card_path)
    write_table()


if __name__ == "__main__":
    main()
