"""Where a class token's answer comes from: the lift's maps against what people draw of a vision transformer.

On held-out digit scenes of ``sample_models/``, with the class-token sample model. Beside ``direct`` and ``through``,
whose cells add up to the logits: the class token's attention in the last layer, its mean over the layers, attention
rollout (arXiv 2005.00928), and the head applied to the patch tokens.

- pointing: the best cell of a digit's class, the mean over the classes taken off, has its centre in the digit's box;
- MaxBoxAccV2 (arXiv 2007.04178) of the same maps: one threshold for all, the best of 34, mean over three IoUs;
- replacement: each cell's patch in turn is replaced by the scene's mean colour; Spearman's correlation of the predicted
  class's logit that is lost with the cell's value;
- deletion and insertion (arXiv 1806.07421): the area under the predicted class's probability while cells are replaced,
  or put back, in 36 steps from the highest on.

Differences of the two lifts have intervals: scenes are drawn with replacement, the same for both.

Recovery with its control, and the rest of an audit, come from ``audit`` itself. What the lifts cost:
`benchmarks.class_tokens_cost`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks import pages

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "sample_models" / "digits_torch_vit.onnx"
COMMAND = "python -m benchmarks.class_tokens --scenes {scenes} --markdown docs/benchmarks/class_tokens.md"
#: In how many steps cells are replaced or put back.
_STEPS = 36
_MAPS = ("direct", "through", "last attention", "mean attention", "rollout", "head on patch tokens")


def scenes(count: int) -> list[Any]:
    """Held-out scenes, each with its digits' classes and boxes."""
    from sample_models.scenes import iter_scenes

    return list(iter_scenes("held_out", 7, count))


def inputs_of(images: np.ndarray) -> np.ndarray:
    """Pixels (N, 96, 96, 3) as the model takes them."""
    said = json.loads(MODEL.with_suffix(".preprocess.json").read_text("utf-8"))
    values = (images.astype(np.float32) * said["scale"] - said["mean"]) / said["std"]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)


class Maps:
    """Every kind of map of a class-token model, (N, K, rows, columns); those without classes are repeated for each."""

    def __init__(self, model: Path) -> None:
        from onnx_gapmil.rewriting.rewriter import rewrite_model

        self._lifts = {mode: _session(rewrite_model(model, class_token=mode)) for mode in ("direct", "through")}
        proto = onnx.load(model)
        softmaxes = [node.output[0] for node in proto.graph.node if node.op_type == "Softmax"]
        norm = [node.output[0] for node in proto.graph.node if node.op_type == "LayerNormalization"][-1]
        head = [node for node in proto.graph.node if node.op_type == "Gemm"][-1]
        weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        self._weight, self._bias = (weights[name].astype(np.float64) for name in head.input[1:3])
        self._names = [*softmaxes, norm]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names)
        self._vendor = onnxruntime.InferenceSession(proto.SerializeToString())

    def logits(self, data: np.ndarray) -> np.ndarray:
        """(N, K)."""
        return np.asarray(self._vendor.run([self._vendor.get_outputs()[0].name], {"image": data})[0], np.float64)

    def of(self, data: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """All maps, and the placeless share of each image by mode."""
        from onnx_gapmil.aggregate.placeless import placeless_share

        maps, shares = {}, {}
        for mode, session in self._lifts.items():
            logits, grid, apart = session.run(["gapmil_logits", "gapmil_grid", "gapmil_placeless"], {"image": data})
            maps[mode] = grid.astype(np.float64)
            shares[mode] = placeless_share(logits, apart, independent=False)
        *attentions, tokens = (array.astype(np.float64) for array in self._vendor.run(self._names, {"image": data}))
        rows, columns = maps["direct"].shape[2:]
        classes = maps["direct"].shape[1]

        def alike(values: np.ndarray) -> np.ndarray:
            return np.repeat(values.reshape(-1, 1, rows, columns), classes, axis=1)

        first = [layer.mean(axis=1)[:, 0, 1:] for layer in attentions]
        flow = np.eye(attentions[0].shape[-1])
        for layer in attentions:
            step = 0.5 * layer.mean(axis=1) + 0.5 * np.eye(layer.shape[-1])
            flow = step @ flow
        maps["last attention"], maps["mean attention"] = alike(first[-1]), alike(np.mean(first, axis=0))
        maps["rollout"] = alike(flow[:, 0, 1:])
        answers = tokens[:, 1:] @ self._weight.T + self._bias
        maps["head on patch tokens"] = answers.transpose(0, 2, 1).reshape(-1, classes, rows, columns)
        return maps, shares


def _session(made: Any) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(made.model.SerializeToString())


def against_mean(maps: np.ndarray) -> np.ndarray:
    """The mean over the classes taken off, where a map has any."""
    other = maps - maps.mean(axis=1, keepdims=True)
    return maps if np.allclose(other, 0) else other


def pointing(maps: np.ndarray, found: list[Any]) -> tuple[np.ndarray, float]:
    """Of each scene the digits whose best cell has its centre in their box, and the share that a drawn cell has."""
    step = 96 / maps.shape[2]
    centres = (np.arange(maps.shape[2]) + 0.5) * step
    hits, chance = np.zeros(len(found)), []
    for place, (each, scene) in enumerate(zip(against_mean(maps), found, strict=True)):
        for item in scene.objects:
            x0, y0, x1, y1 = item.box
            inside = ((centres >= y0) & (centres < y1))[:, None] & ((centres >= x0) & (centres < x1))[None]
            hits[place] += inside.ravel()[each[item.label].argmax()]
            chance.append(inside.mean())
    return hits, float(np.mean(chance))


def misses(maps: np.ndarray, logits: np.ndarray, found: list[Any]) -> list[str]:
    """In per cent of the digits: whose best cell lies in their box, at most one cell off it, in another digit's box.

    And of those whose class the model ranks first, and of those that it ranks behind the third, how many lie in theirs.
    """
    step = 96 / maps.shape[2]
    ranks = (-logits).argsort(axis=1).argsort(axis=1)
    rows = []
    for each, scene, rank in zip(against_mean(maps), found, ranks, strict=True):
        for item in scene.objects:
            row, column = np.divmod(each[item.label].argmax(), maps.shape[3])
            point = ((column + 0.5) * step, (row + 0.5) * step)
            gap, *others = (
                _gap(point, other.box) for other in (item, *(other for other in scene.objects if other is not item))
            )
            rows.append((gap == 0, gap <= step, 0 in others, rank[item.label]))
    table = np.asarray(rows, np.float64)
    hit, near, other, place = table.T
    figures = [hit.mean(), near.mean(), other.mean(), hit[place == 0].mean(), hit[place > 2].mean()]
    return [f"{100 * figure:.1f}" for figure in figures]


def _gap(point: tuple[float, float], box: tuple[int, int, int, int]) -> float:
    """How far a point lies outside of a box, along the worse axis; in pixels."""
    (x, y), (x0, y0, x1, y1) = point, box
    inside = x0 <= x < x1 and y0 <= y < y1
    return 0.0 if inside else max(x0 - x, x - x1, y0 - y, y - y1, 1e-9)


def boxes(maps: np.ndarray, found: list[Any]) -> np.ndarray:
    """Of each scene how many digits' boxes overlap enough with the largest part above a threshold, (N, 3 IoUs, 34)."""
    import cv2

    thresholds, ious = np.linspace(0, 0.99, 34), np.asarray([0.3, 0.5, 0.7])
    counts = np.zeros((len(found), len(ious), len(thresholds)))
    for place, (each, scene) in enumerate(zip(against_mean(maps), found, strict=True)):
        for item in scene.objects:
            drawn = cv2.resize(each[item.label], (96, 96), interpolation=cv2.INTER_LINEAR)
            drawn = (drawn - drawn.min()) / max(np.ptp(drawn), 1e-12)
            shares = np.asarray([_overlap(drawn >= threshold, item.box) for threshold in thresholds])
            counts[place] += shares >= ious[:, None]
    return counts


def _overlap(mask: np.ndarray, box: tuple[int, int, int, int]) -> float:
    import cv2

    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return 0.0
    x, y, width, height, _ = stats[1 + stats[1:, 4].argmax()]
    x0, y0, x1, y1 = box
    across, down = min(x + width, x1) - max(x, x0), min(y + height, y1) - max(y, y0)
    shared = max(0, across) * max(0, down)
    return shared / (width * height + (x1 - x0) * (y1 - y0) - shared)


def faithfulness(tool: Maps, maps: dict[str, np.ndarray], images: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """By map, for each scene: rank correlation with what replacing a cell loses, deletion and insertion areas."""
    result: dict[str, list[list[float]]] = {name: [] for name in maps}
    rows, columns = maps["direct"].shape[2:]
    cells, size = rows * columns, 96 // rows
    for place in range(count):
        image = images[place].astype(np.float32)
        colour = image.mean(axis=(0, 1))

        def without(gone: np.ndarray, image: np.ndarray = image, colour: np.ndarray = colour) -> np.ndarray:
            mask = np.kron(gone.reshape(rows, columns), np.ones((size, size)))[..., None]
            return image * (1 - mask) + colour * mask

        alone = np.stack([without(np.eye(cells)[cell]) for cell in range(cells)])
        logits = tool.logits(inputs_of(np.concatenate([image[None], alone])))
        best = int(logits[0].argmax())
        relative = logits[:, best] - logits.mean(axis=1)
        lost = relative[0] - relative[1:]
        for name, every in maps.items():
            values = against_mean(every[place : place + 1])[0, best].ravel()
            order = np.argsort(-values, kind="stable")
            gone = np.zeros((_STEPS + 1, cells))
            for at, some in enumerate(np.array_split(order, _STEPS)):
                gone[at + 1 :, some] = 1
            series = [np.stack([without(row) for row in masks]) for masks in (gone, 1 - gone)]
            answers = tool.logits(inputs_of(np.concatenate(series)))
            grown = np.exp(answers - answers.max(axis=1, keepdims=True))
            chance = (grown / grown.sum(axis=1, keepdims=True))[:, best]
            areas = [float(part.mean()) for part in np.split(chance, 2)]
            result[name].append([_ranks(values, lost), *areas])
    return {name: np.asarray(rows) for name, rows in result.items()}


@dataclass(frozen=True)
class Measured:
    """What a map was found to be worth, scene by scene.

    Attributes:
        digits: how many a scene has, (N,).
        hits: `pointing`.
        boxes: `boxes`.
        faithful: `faithfulness`, of the first scenes.
    """

    digits: np.ndarray
    hits: np.ndarray
    boxes: np.ndarray
    faithful: np.ndarray

    def figures(self, draws: np.ndarray) -> np.ndarray:
        """Pointing and boxes in per cent, rank correlation, deletion, insertion: (R, 5).

        Args:
            draws: how often each scene counts, (R, N); a scene's faithfulness counts as often as the scene.
        """
        digits, few = draws @ self.digits, draws[:, : len(self.faithful)]
        shares = (draws @ self.boxes.reshape(len(self.digits), -1)).reshape(-1, *self.boxes.shape[1:])
        found = (shares / digits[:, None, None]).max(axis=2).mean(axis=1)  # one threshold for all, for each IoU
        means = few @ self.faithful / few.sum(axis=1, keepdims=True)
        return np.column_stack([100 * (draws @ self.hits) / digits, 100 * found, means])


def difference(one: Measured, other: Measured) -> list[str]:
    """``other - one`` of the same scenes with 95 % intervals: percentiles of 2,000 draws of as many scenes."""
    count = len(one.digits)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=2000)
    whole = np.ones((1, count))
    means = (other.figures(whole) - one.figures(whole))[0]
    ends = np.percentile(other.figures(drawn) - one.figures(drawn), [2.5, 97.5], axis=0)
    digits = (1, 1, 3, 3, 3)
    return [
        f"{mean:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]"
        for mean, low, high, places in zip(means, *ends, digits, strict=True)
    ]


def _ranks(one: np.ndarray, two: np.ndarray) -> float:
    """Spearman's correlation."""
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (one, two))
    return float(np.corrcoef(first, second)[0, 1])


def audited(mode: str, folder: Path, count: int) -> tuple[dict[str, Any], dict[str, float]]:
    """What ``audit`` says of the same model under one lift, and how far each wrong image is above its control."""
    import pyarrow.parquet as pq

    from benchmarks.paper_claims import make_scenes
    from onnx_gapmil import audit

    data = folder / "scenes"
    if not data.is_dir():
        make_scenes(data, count)
    summary = audit(MODEL, data, folder / mode, labels=data / "scenes.json", class_token=mode, gallery=0)  # type: ignore[arg-type]
    rows = pq.read_table(folder / mode / "images.parquet").to_pylist()
    excess = {
        row["image"]: row["any_top1"] - row["control"]
        for row in rows
        if not row["right"] and None not in (row["any_top1"], row["control"])
    }
    return dict(summary.to_json()), excess


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--faithful", type=int, default=40, help="scenes for replacement, deletion and insertion")
    parser.add_argument("--markdown", type=Path)
    chosen = parser.parse_args()
    found = scenes(chosen.scenes)
    images = np.stack([scene.image for scene in found])
    tool = Maps(MODEL)
    maps, shares = tool.of(inputs_of(images))
    faithful = faithfulness(tool, maps, images, chosen.faithful)
    counts = np.asarray([len(scene.objects) for scene in found])
    measured, rows = {}, []
    for name in _MAPS:
        hits, chance = pointing(maps[name], found)
        measured[name] = Measured(counts, hits, boxes(maps[name], found), faithful[name])
        share = f"{shares[name].mean():.2f}" if name in shares else "–"
        adds = "yes" if name in shares else "no"
        figures = measured[name].figures(np.ones((1, len(found))))[0]
        parts = (f"{figure:.{1 if place < 2 else 3}f}" for place, figure in enumerate(figures))
        rows.append([name, adds, *parts, share])
    rows.append(["through - direct, 95 %", "", *difference(measured["direct"], measured["through"]), ""])
    digits = sum(len(scene.objects) for scene in found)
    lines = [
        "# Class tokens: which map is worth most",
        "",
        *pages.made_by(COMMAND.format(scenes=chosen.scenes)),
        "",
        f"`{MODEL.name}`, {len(found)} held-out scenes with {digits} digits; a cell drawn at random lies in a digit's "
        f"box in {100 * chance:.1f} % of the cases. Replacement, deletion and insertion on {chosen.faithful} scenes.",
        "",
        *pages.table(
            [
                "map",
                "adds up",
                "pointing %",
                "MaxBoxAccV2 %",
                "replacement ρ",
                "deletion ↓",
                "insertion ↑",
                "placeless",
            ],
            rows,
        ),
        "",
    ]
    logits = tool.logits(inputs_of(images))
    heads = ["lift", "in its box %", "at most a cell off %", "in another digit's box %", "class ranked first %"]
    heads.append("class ranked fourth or lower %")
    lines += [
        "## Where the best cell lies",
        "",
        "Of all digits; in the last two columns, how many of those whose class the model ranks so lie in their box.",
        "",
        *pages.table(heads, [[mode, *misses(maps[mode], logits, found)] for mode in ("direct", "through")]),
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        audits = {mode: audited(mode, Path(folder), chosen.scenes) for mode in ("direct", "through")}
    lines += ["## The audit of the same model", "", *pages.table(*_audit_rows(audits)), ""]
    lines += _excess_difference(*(excess for _, excess in audits.values()))
    text = "\n".join(lines).rstrip() + "\n"
    sys.stdout.write(text)
    if chosen.markdown is not None:
        chosen.markdown.write_text(text, "utf-8")
    return 0


def _excess_difference(direct: dict[str, float], through: dict[str, float]) -> list[str]:
    from onnx_gapmil.metrics.intervals import bootstrap_mean

    both = [through[name] - direct[name] for name in direct.keys() & through.keys()]
    if not both:
        return []
    low, high = bootstrap_mean(sorted(both))
    return [f"Excess, through - direct on the same images: {np.mean(both):+.3f} [{low:+.3f}, {high:+.3f}].", ""]


def _audit_rows(audits: dict[str, tuple[dict[str, Any], dict[str, float]]]) -> tuple[list[str], list[list[str]]]:
    heads = [
        "lift",
        "wrong images",
        "label wins a cell",
        "control",
        "excess",
        "95 % interval",
        "pointing game",
        "placeless",
    ]
    rows = []
    for mode, (summary, _) in audits.items():
        wrong = summary["foreground"]["wrong"]
        interval = summary["intervals"].get("foreground.wrong.excess")
        rows.append(
            [
                mode,
                str(wrong["images"]),
                *(f"{wrong[key]:.3f}" for key in ("any_top1", "control_any_top1", "excess")),
                json.dumps([round(end, 3) for end in interval]) if interval else "–",
                f"{summary['pointing_game']:.3f}",
                f"{summary['head']['placeless_share']:.2f}",
            ]
        )
    return heads, rows


if __name__ == "__main__":
    raise SystemExit(main())
