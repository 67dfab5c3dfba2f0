"""FlexPooling (arXiv 2606.14926) trained end to end: its accuracy, and what the tool finds in the cells of its nets.

``sample_models/train_flexpooling.py --study DIR`` trains nets that differ by their pool alone, from three seeds each.
This script answers held-out digit scenes by every output of each of them, audits every output's head, and reads the
pools' weights from the files. What was measured of a net is kept in DIR/figures, so that a stopped run goes on.

``--markdown FILE`` writes the tables into that page, between its marks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks import pages

if TYPE_CHECKING:
    from sample_models.scenes import Scene, SceneSet

SCENES, SEED = 1000, 2
SINGLE_SEED = 3
CHUNK = 100
#: By name of `VARIANTS` in ``sample_models/train_flexpooling.py``: what the page calls it.
VARIANTS = {
    "mean": "mean",
    "mean_dropout": "mean, dropout",
    "position": "by position, penalty, dropout",
    "channel": "by position and channel, penalty, dropout",
    "softmax": "by position and channel, softmax, dropout",
    "mean_sac": "mean, dropout, SAC",
    "channel_sac": "by position and channel, penalty, dropout, SAC",
}
PLAIN = "mean"
#: What a net is compared with: ones that differ by dropout alone, or by the pool's weights, or by SAC.
CONTROLS = {
    "mean": (),
    "mean_dropout": (PLAIN,),
    "position": ("mean_dropout",),
    "channel": ("mean_dropout",),
    "softmax": ("mean_dropout", "channel"),
    "mean_sac": ("mean_dropout",),
    "channel_sac": ("channel", "mean_sac"),
}
LAST = "logits"
STAGES = ("stage1", "stage2", LAST)

SEEDS = """\
Seeds {seeds}. `±` is half of Student's 95 % interval of the mean over seeds. The scenes are the same for all nets, so
that it says how much of a figure is chance of the training, and nothing of the scenes."""
ACCURACY = """\
### Accuracy

{scenes} held-out scenes of one to four digits, and {scenes} of one, in percent: the first class is in the scene, is its
one digit, is the label (which chance decides among the digits present). Log loss is that of the label, in nats."""
DIFFERENCES = """\
Differences paired by seed, in points and nats: to a control, which differs by one thing alone, and to the plain mean,
which is the paper's comparison. An interval that holds 0 shows no difference."""
RECOVERY = """\
### Foreground recovery

By `audit` on the same scenes. Of the scenes whose answer is not the label (*wrong*: how many, on average) the share in
which the label wins a cell on its digit (*recovered*); the same share for the classes that rank next to it in the image
(*control*); what the label wins beyond them (*excess*). *Digits found*: the share of all digits, in scenes of several,
whose class wins a cell in their box."""
PLACES = """\
### Localization at each stage's grid

Each stage's head, audited by itself (`audit --head stage1`). *Pointing*: the best cell touches the digit (the centre of
the scene does in {pointing:.1f} %). *MaxBoxAccV2*: boxes at IoU 0.3, 0.5 and 0.7 (a box in the middle gets
{boxes:.1f} %); *IoU 0.5*: at 0.5 alone."""
WEIGHTS = """\
### The weights that were learned

As `inspect` reads them from the files, in units of a mean's weight: over all seeds the least and the largest, the mean
share below 0, and the range of the sums of a set (1 of a mean). *Deviation of the map*: of each position's mean weight
over the channels; *edge*: the mean weight of the outermost cells."""

#: By variant, then by seed, what `measure` found.
Found = dict[str, dict[int, dict[str, Any]]]
Pick = Callable[[dict[str, Any]], float]


def together(scenes: Sequence[Scene]) -> SceneSet:
    """Scenes as arrays."""
    from sample_models.scenes import CLASS_NAMES, SceneSet

    present = np.zeros((len(scenes), len(CLASS_NAMES)), np.bool_)
    for row, scene in zip(present, scenes, strict=True):
        row[list(scene.present)] = True
    return SceneSet(np.stack([scene.image for scene in scenes]), np.array([scene.label for scene in scenes]), present)


def answers(model: Path, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """The logits (N, 10) of every output for RGB scenes (N, 96, 96, 3)."""
    import onnxruntime

    recipe = json.loads(model.with_name(f"{model.stem}.preprocess.json").read_text("utf-8"))
    scale, mean, std = (np.asarray(recipe[key], np.float32) for key in ("scale", "mean", "std"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    parts = []
    for start in range(0, len(images), CHUNK):
        values = (images[start : start + CHUNK].astype(np.float32) * scale - mean) / std
        parts.append(
            session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(values.transpose(0, 3, 1, 2))})
        )
    names = [output.name for output in session.get_outputs()]
    return {name: np.concatenate(rows) for name, rows in zip(names, zip(*parts, strict=True), strict=True)}


def accuracy(
    logits: npt.NDArray[np.float32], single: npt.NDArray[np.float32], mixed: SceneSet, alone: SceneSet
) -> dict[str, float]:
    """Figures of one output, on scenes of one to four digits, and on scenes of one."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    rows, first = np.arange(len(exact)), exact.argmax(axis=1)
    loss = np.log(np.exp(exact).sum(axis=1)) - exact[rows, mixed.labels]
    return {
        "label": float((first == mixed.labels).mean()),
        "present": float(mixed.present[rows, first].mean()),
        "single": float((single.argmax(axis=1) == alone.labels).mean()),
        "loss": float(loss.mean()),
    }


def audited(model: Path, scenes: Path, output: str) -> dict[str, Any]:
    """What an audit of one head finds on scenes with boxes."""
    from onnx_gapmil.auditing import Request, audit

    with tempfile.TemporaryDirectory() as folder:
        found = audit(Request(model=model, data=scenes, head=output), Path(folder) / "audit", gallery=0).to_json()
    several, wrong = found["several_objects"], found["foreground"]["wrong"]
    return {
        "verdict": found["verdict"],
        "grid": found["head"]["grid_shape"][2:],
        "pool_weights": found["head"]["pool_weights"],
        "wrong": wrong["images"],
        "recovered": wrong["any_top1"],
        "control": wrong["control_any_top1"],
        "excess": wrong["excess"],
        "found": several["grid"] / several["objects"],
        "pointing": found["pointing_game"],
        "pointing_centre": found["pointing_game_centre"],
        "boxes": found["maxboxacc_v2"],
        "boxes_centre": found["localization"]["centre_box"]["mean"],
        "half": found["localization"]["iou_0.5"],
    }


def measure(model: Path, scenes: Path, mixed: SceneSet, alone: SceneSet) -> dict[str, Any]:
    """All figures of one net, by output; kept beside it, and read from there if net and scenes are the same."""
    key = f"{hashlib.sha256(model.read_bytes()).hexdigest()} {len(mixed.labels)}"
    kept = model.parent / "figures" / f"{model.stem}.json"
    if kept.is_file() and (before := json.loads(kept.read_text("utf-8")))["key"] == key:
        return before
    print(f"{model.stem} ...", file=sys.stderr, flush=True)
    logits, single = answers(model, mixed.images), answers(model, alone.images)
    outputs = {
        name: {**accuracy(logits[name], single[name], mixed, alone), **audited(model, scenes, name)} for name in logits
    }
    found = {"key": key, "outputs": outputs}
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def half_width(values: Sequence[float]) -> float:
    """Half of Student's 95 % interval of a mean over seeds."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def over_seeds(values: Sequence[float], scale: float = 100.0, sign: str = "", digits: int = 1) -> str:
    """A mean over seeds and its interval: "96.1 ± 0.5"."""
    numbers = [scale * value for value in values]
    spread = f" ± {half_width(numbers):.{digits}f}" if len(numbers) > 1 else ""
    mean = round(float(np.mean(numbers)), digits) + 0.0  # no "-0.0"
    return f"{mean:{sign}.{digits}f}{spread}"


def values_of(found: Found, variant: str, pick: Pick, output: str = LAST) -> list[float]:
    """A figure of one output, by seed."""
    return [pick(net["outputs"][output]) for _, net in sorted(found[variant].items())]


def differences(found: Found, variant: str, other: str, pick: Pick) -> list[float]:
    """A figure less another variant's, of the seeds that both have."""
    mine, theirs = found[variant], found[other]
    return [
        pick(mine[seed]["outputs"][LAST]) - pick(theirs[seed]["outputs"][LAST]) for seed in sorted(mine.keys() & theirs)
    ]


def accuracy_table(found: Found) -> list[str]:
    """How the nets answer."""
    rows = []
    for variant in found:
        row = [VARIANTS[variant]]
        for key in ("present", "single", "label"):
            row.append(over_seeds(values_of(found, variant, lambda net, key=key: net[key])))
        rows.append([*row, over_seeds(values_of(found, variant, lambda net: net["loss"]), 1.0, digits=2)])
    return pages.table(["pool and training", "is present", "one digit", "is the label", "log loss"], rows)


def difference_table(found: Found) -> list[str]:
    """Each net less its controls, and less the plain mean."""
    rows = []
    for variant in found:
        others = dict.fromkeys((*CONTROLS[variant], PLAIN))
        for other in (other for other in others if other in found and other != variant):
            row = [VARIANTS[variant], VARIANTS[other]]
            for key in ("present", "single"):
                row.append(over_seeds(differences(found, variant, other, lambda net, key=key: net[key]), sign="+"))
            row.append(over_seeds(differences(found, variant, other, lambda net: net["loss"]), 1.0, "+", 2))
            rows.append(row)
    return pages.table(["pool and training", "less", "is present", "one digit", "log loss"], rows, numbers_from=2)


def recovery_table(found: Found) -> list[str]:
    """What cells on the object know where the answer is wrong."""
    rows = []
    for variant in found:
        row = [VARIANTS[variant], f"{np.mean(values_of(found, variant, lambda net: net['wrong'])):.0f}"]
        for key in ("recovered", "control", "excess", "found"):
            row.append(over_seeds(values_of(found, variant, lambda net, key=key: net[key])))
        rows.append(row)
    return pages.table(["pool and training", "wrong", "recovered", "control", "excess", "digits found"], rows)


def places_table(found: Found) -> list[str]:
    """How each stage's grid points and boxes."""
    rows = []
    for variant, nets in found.items():
        outputs = next(iter(nets.values()))["outputs"]
        for output in STAGES:
            if output not in outputs:
                continue
            row = [VARIANTS[variant], "last" if output == LAST else output.removeprefix("stage")]
            row.append("x".join(map(str, outputs[output]["grid"])))
            for key in ("present", "found", "pointing", "boxes", "half"):
                row.append(over_seeds(values_of(found, variant, lambda net, key=key: net[key], output)))
            rows.append(row)
    heads = ["pool and training", "stage", "cells", "top-1 is present", "digits found", "pointing"]
    return pages.table([*heads, "MaxBoxAccV2", "IoU 0.5"], rows, numbers_from=3)


def weights_table(found: Found) -> list[str]:
    """The learned weights, as `inspect` reads them."""
    rows = []
    for variant, nets in found.items():
        outputs = next(iter(nets.values()))["outputs"]
        for output in STAGES:
            pools = [
                pool
                for net in nets.values()
                for pool in net["outputs"].get(output, {"pool_weights": []})["pool_weights"]
            ]
            if output not in outputs or not pools:
                continue
            maps = [np.asarray(pool["map"]) for pool in pools]
            rows.append(
                [
                    VARIANTS[variant],
                    "last" if output == LAST else output.removeprefix("stage"),
                    f"{min(pool['least'] for pool in pools):.2f}",
                    f"{max(pool['largest'] for pool in pools):.2f}",
                    f"{100 * np.mean([pool['below_zero'] for pool in pools]):.1f}",
                    f"{min(pool['sums'][0] for pool in pools):.2f} to {max(pool['sums'][1] for pool in pools):.2f}",
                    f"{np.mean([part.std() for part in maps]):.2f}",
                    f"{np.mean([_edge(part) for part in maps]):.2f}",
                ]
            )
    heads = ["pool and training", "stage", "least", "largest", "below 0, %", "sums", "deviation of the map", "edge"]
    return pages.table(heads, rows, numbers_from=2)


def _edge(weights: npt.NDArray[np.float64]) -> float:
    """Mean weight of the outermost cells."""
    inside = weights[1:-1, 1:-1]
    return float((weights.sum() - inside.sum()) / (weights.size - inside.size))


def page(found: Found, scenes: int, command: str) -> list[str]:
    """The tables, each with what its columns mean."""
    seeds = sorted({seed for nets in found.values() for seed in nets})
    some = next(iter(found.values()))[seeds[0]]["outputs"][LAST]
    centre = {"pointing": 100 * some["pointing_centre"], "boxes": 100 * some["boxes_centre"]}
    sections = [
        (ACCURACY.format(scenes=scenes), accuracy_table(found)),
        (DIFFERENCES, difference_table(found)),
        (RECOVERY, recovery_table(found)),
        (PLACES.format(**centre), places_table(found)),
        (WEIGHTS, weights_table(found)),
    ]
    lines = [*pages.made_by(command), "", SEEDS.format(seeds=", ".join(map(str, seeds)))]
    for text, rows in sections:
        lines += ["", *text.splitlines(), "", *rows]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder that train_flexpooling.py --study wrote")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"held-out scenes of each kind (default {SCENES})")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page, between its marks")
    options = parser.parse_args()
    from sample_models.scenes import iter_scenes, write_scenes

    nets = {variant: sorted(options.study.glob(f"{variant}_[0-9]*.onnx")) for variant in VARIANTS}
    if not any(nets.values()):
        print(f"{options.study} holds no nets: python sample_models/train_flexpooling.py --study DIR", file=sys.stderr)
        return 2
    several = list(iter_scenes("held_out", SEED, options.scenes))
    mixed, alone = together(several), together(list(iter_scenes("held_out", SINGLE_SEED, options.scenes, count=1)))
    with tempfile.TemporaryDirectory() as scratch:
        write_scenes(iter(several), Path(scratch))
        scenes = Path(scratch) / "scenes.json"
        found = {
            variant: {int(path.stem.rsplit("_", 1)[1]): measure(path, scenes, mixed, alone) for path in paths}
            for variant, paths in nets.items()
            if paths
        }
    lines = page(found, options.scenes, "python -m benchmarks.flexpooling DIR --markdown docs/flexpooling.md")
    print("\n".join(lines))
    if options.markdown:
        before, mark, rest = options.markdown.read_text("utf-8").partition("<!-- figures -->\n")
        _, end, after = rest.partition("<!-- /figures -->")
        options.markdown.write_text("\n".join([before + mark, *lines, "", end + after]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
