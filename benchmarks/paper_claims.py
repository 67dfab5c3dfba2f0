"""The two claims of arXiv 2606.14555 that an audit can test, on a model's own grids.

A classifier that ends in global average pooling is a multiple-instance learner: one label for each image trains the
class evidence of every place. The paper claims (a) that a model trained with one label for each scene of several
objects nevertheless learns all of them, and shows where they are; (b) that where the image-level prediction is wrong,
cells on the object often hold the right class all the same, which averaging loses.

(a) is measured on the digit scenes of ``sample_models/``: held-out scenes of one to four digits, models trained with
one label for each scene, drawn at random among its digits. How many of all digits present have their class on top of a
cell in their box, against what the image-level top-1, top-5 and top-m (m: as many as are present) name?

(b) is measured on the same scenes, where the answer counts as wrong if it is not the scene's one label, and on the
photos and models of ``../shared/real`` if they lie beside the checkout.

``--markdown FILE`` writes the page, ``--out DIR`` keeps the folders of results.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "sample_models"
REAL = ROOT.parent / "shared" / "real"
#: Sample models with a pooled head; the sixth has none, and is refused.
DIGITS = ("digits_torch_legacy", "digits_torch_dynamo", "digits_keras", "digits_paddle", "digits_jax")
SCENES, SEED = 1000, 2
#: Real models: (file stem, label file of the model's names relative to ``models/``, fields of its preprocessing).
PHOTOS = {
    "in1k_mobilenetv2_100_224_tflite_fp32": {"dtype": "uint8", "layout": "NHWC"},
    "in1k_squeezenet_fp16_caffe2": {"dtype": "float16", "color": "BGR", "mean": [104.0, 117.0, 123.0]},
    "in1k_shufflenetv2_int8_qop": {
        "scale": 1 / 255,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "in1k_mobilenetv2_qdq_zoo": {
        "scale": 1 / 255,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}


def make_scenes(folder: Path, count: int) -> Path:
    """Write held-out scenes and a JSON-lines file of their labels and labelled boxes."""
    from sample_models.scenes import iter_scenes, write_scenes

    write_scenes(iter_scenes("held_out", SEED, count), folder)
    return folder / "scenes.json"


def write_photo_labels(folder: Path, out: Path) -> Path:
    """The photos' annotations in the audit's own JSON-lines form, with absolute paths."""
    photos = folder / "images" / "ilsvrc_val_227"
    lines = [
        json.dumps({"image": entry["file"], "label": entry["label"], "boxes": entry["boxes_227_xyxy"]})
        for entry in json.loads((photos / "annotations.json").read_text("utf-8"))
    ]
    path = out / "photos.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_preprocess(model: Path, changed: dict[str, Any], out: Path) -> Path:
    """A preprocessing file: the whole photo squashed by OpenCV's bilinear, with a model's own numbers."""
    recipe = {
        "layout": "NCHW",
        "color": "RGB",
        "size": [224, 224],
        "resize": "squash",
        "crop": 1.0,
        "interpolation": "bilinear",
        "scale": 1.0,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        "dtype": "float32",
        **changed,
    }
    path = out / f"{model.stem}.preprocess.json"
    path.write_text(json.dumps(recipe), "utf-8")
    return path


def run_audit(name: str, out: Path, **request: Any) -> dict[str, Any]:
    """Audit one model; returns the content of its ``summary.json``."""
    from onnx_gapmil.auditing import Request, audit

    print(f"{name} ...", file=sys.stderr, flush=True)
    return audit(Request(**request), out / name).to_json()


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def several_row(name: str, found: dict[str, Any]) -> list[str]:
    """What became of all digits present."""
    several = found["several_objects"]
    shares = [several[key] / several["objects"] for key in ("grid", "top1", "top5", "top_m")]
    return [f"`{name}`", str(several["images"]), str(several["objects"]), *(percent(share) for share in shares)]


def recovery_row(name: str, found: dict[str, Any]) -> list[str]:
    """What cells on the object know, where the answer is right and where it is wrong."""
    row = [f"`{name}`", percent(found["top1"])]
    for key in ("right", "wrong"):
        part = found["foreground"][key]
        row += [
            str(part["images"]),
            *(percent(part[field]) for field in ("any_top1", "any_top5", "cell_share", "background_share")),
        ]
    wrong, bounds = found["foreground"]["wrong"], found["intervals"].get("foreground.wrong.excess")
    excess = (
        "-"
        if bounds is None
        else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * number for number in (wrong["excess"], *bounds)))
    )
    return [*row, percent(wrong["control_any_top1"]), excess]


def boxes_row(name: str, found: dict[str, Any]) -> list[str]:
    """How the grid boxes and points at the objects, each figure beside what the middle of the photo gets."""
    boxes = found["localization"]
    cells = [
        (found["pointing_game"], found["pointing_game_centre"], "pointing_game_excess"),
        (found["maxboxacc_v2"], boxes["centre_box"]["mean"], "localization.excess"),
        (found["maxboxacc_v1"], boxes["one_box"]["centre_box"]["share"], "localization.one_box.excess"),
        (found["top1_localization"], boxes["top1"]["centre_box"]["share"], "localization.top1.excess"),
    ]
    row = [f"`{name}`", str(boxes["objects"])]
    for own, centre, excess in cells:
        low, high = found["intervals"][excess]
        row.append(f"{percent(own)} / {percent(centre)} ({100 * low:+.1f} to {100 * high:+.1f})")
    oracle = boxes["one_box"]["oracle"], boxes["one_box"]["centre_box"]["oracle"]
    return [*row, f"{percent(oracle[0])} / {percent(oracle[1])}"]


def evidence_row(name: str, found: dict[str, Any]) -> list[str]:
    """The share of the evidence outside the object, beside boxes that know nothing but its size."""
    background = found["background"]
    low, high = found["intervals"]["background.over_centred_box"]
    return [
        f"`{name}`",
        percent(background["share"]),
        percent(background["centred_box"]),
        f"{100 * background['over_centred_box']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
        percent(background["random_box"]),
    ]


def percent(share: float | None) -> str:
    """In percent."""
    return "–" if share is None else f"{100 * share:.1f}"


def page(digits: dict[str, dict[str, Any]], photos: dict[str, dict[str, Any]], scenes: int) -> str:
    """The tables, with what they say."""
    several = table(
        ["model", "scenes", "digits", "grid", "top-1", "top-5", "top-m"],
        [several_row(name, found) for name, found in digits.items()],
    )
    header = ["model", "top-1", "right (n)", "any top-1", "any top-5", "cells", "background"]
    header += ["wrong (n)", "any top-1", "any top-5", "cells", "background", "control", "excess (95 % interval)"]
    recovery = table(header, [recovery_row(name, found) for name, found in (digits | photos).items()])
    best = next(iter(digits.values()))["several_objects"]
    lines = [
        "## (a) One label for each scene teaches all of them",
        "",
        f"{scenes} held-out scenes, of which those with two or more digits are counted. Share of all digits present, "
        "in percent, that",
        "",
        "- **grid**: have their class on top of a cell that lies at least half in their box;",
        "- **top-1**, **top-5**, **top-m**: are among the image's first one, five, m classes, m being the number of "
        "digits present, which nobody knows beforehand. Of ten classes, five are half: top-5 names much by chance.",
        "",
        several,
        "",
        f"The first model's grid finds {best['grid']} of the {best['objects']} digits; its image-level answer names "
        f"{best['top1']}.",
        "",
        "## (b) Where the answer is wrong, do cells on the object know better?",
        "",
        "For images answered rightly and wrongly, in percent of these images: the true class is on top of some cell on "
        "the object (any top-1), or among the five highest of some (any top-5); and, as a mean over images, the share "
        "of the object's cells, and of all other cells, that it wins. A digit model is wrong if it names another of "
        "the scene's digits than the one that is its label, which no model can know: what it is tested for is whether "
        "the label's digit is found all the same.",
        "",
        "A class that scored nearly as high as the label wins cells too, wherever they lie. So beside the label's any "
        "top-1 stands its *control*: the same question, in the same cells of the same wrong images, asked for the "
        "classes that rank next above and next below it in the image's own ranking and are neither the answer nor, as "
        "far as boxes say, in the image. What the label wins beyond them is the *excess*, in points, paired by image.",
        "",
        recovery,
        "",
        "## Where the grid puts the object",
        "",
        "In percent, each figure / the same for the middle of the photo, which knows nothing, and in brackets the "
        "95 % interval of the difference in points, paired by object. Pointing: the label's best cell, or the photo's "
        "centre, touches the object. MaxBoxAccV2 is the mean over IoUs of 0.3, 0.5 and 0.7, with boxes of all "
        "contours; MaxBoxAcc (V1) takes the box of the largest contour at an IoU of 0.5, which papers also quote as "
        "GT-known localization; Top-1 localization asks that the image's answer is right as well. Thresholds, and "
        "sizes of the centred box, are chosen on the other half of the objects; the last column has V1 at the "
        "threshold that is best in hindsight, as papers report it.",
        "",
        table(
            ["model", "objects", "pointing", "MaxBoxAccV2", "MaxBoxAcc (V1)", "Top-1 localization", "V1, hindsight"],
            [boxes_row(name, found) for name, found in (digits | photos).items()],
        ),
        "",
        "The share of the evidence for the answer that lies outside the object, in percent, beside a box of the "
        "object's area in the middle (with the difference in points, and its interval) and one anywhere:",
        "",
        table(
            ["model", "outside", "centred box", "difference", "random box"],
            [evidence_row(name, found) for name, found in (digits | photos).items()],
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"held-out scenes (default {SCENES})")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real models and photos")
    parser.add_argument("--out", type=Path, help="keep the audits' results here")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page, between its marks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        labels = make_scenes(Path(scratch) / "scenes", options.scenes)
        digits = {name: run_audit(name, out, model=SAMPLES / f"{name}.onnx", data=labels) for name in DIGITS}
        photos: dict[str, dict[str, Any]] = {}
        if (options.real / "manifest.json").is_file():
            annotated = write_photo_labels(options.real, Path(scratch))
            for name, changed in PHOTOS.items():
                model = options.real / "models" / f"{name}.onnx"
                recipe = write_preprocess(model, changed, Path(scratch))
                photos[name] = run_audit(
                    name,
                    out,
                    model=model,
                    data=options.real / "images" / "ilsvrc_val_227",
                    labels=annotated,
                    preprocess=str(recipe),
                )
        else:
            print(f"*** {options.real} is absent: claim (b) is not measured on photos.", file=sys.stderr)
    text = page(digits, photos, options.scenes)
    print(text)
    if options.markdown:
        before, mark, rest = options.markdown.read_text("utf-8").partition("<!-- figures -->\n")
        _, end, after = rest.partition("<!-- /figures -->")
        options.markdown.write_text(before + mark + "\n" + text + "\n" + end + after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
