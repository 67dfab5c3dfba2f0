"""Payloads of the report's page: from the project's digit scenes, and made up with as many classes as wanted.

The measures are worked out here in a few plain lines, so that the page can be tried without the audit; they are not
the audit's own.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from onnx_gapmil import GridSession
from onnx_gapmil.show.html.maps import encode_maps
from sample_models.scenes import make_scene
from tests.helpers.scene_data import MODEL, prepared

CAUSES = ("dilution", "distraction", "absent")


@dataclass(frozen=True)
class Case:
    """One image: RGB uint8, its grid (K, H, W), labels, boxes in fractions of it."""

    name: str
    photo: np.ndarray
    grid: np.ndarray
    labels: tuple[int, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


def digits_payload(count: int = 120, seed: int = 5, shown: int = 1000) -> dict[str, Any]:
    """The digit scenes of `sample_models/`, by its PyTorch model: one label for each scene, one to four digits."""
    return payload_of(
        digit_cases(count, seed), _digit_names(), shown=shown, model="sample_models/digits_torch_legacy.onnx"
    )


def digit_cases(count: int, seed: int) -> list[Case]:
    """Scenes with the grid of `digits_torch_legacy.onnx`."""
    scenes = [make_scene("held_out", seed, index) for index in range(count)]
    (answer,) = GridSession(MODEL).run(prepared(np.stack([scene.image for scene in scenes])))
    side = float(scenes[0].image.shape[0])
    return [
        Case(
            f"scenes/scene_{index:03d}.png",
            scene.image,
            answer.grid[index],
            (scene.label,),
            tuple(tuple(edge / side for edge in item.box) for item in scene.objects if item.label == scene.label),
        )
        for index, scene in enumerate(scenes)
    ]


def synthetic_payload(*, classes: int = 1000, images: int = 1000, seed: int = 0, side: int = 7) -> dict[str, Any]:
    """Made-up photos of a made-up model with many classes; every tenth photo is wide and seen through a window."""
    rng = np.random.default_rng(seed)
    cases = []
    for index in range(images):
        label = int(rng.integers(classes))
        wide = index % 10 == 0
        photo = _photo(rng, 72 if wide else 48, 48)
        grid = rng.normal(0, 1.6, (classes, side, side)).astype(np.float32)
        x, y = rng.uniform(0.05, 0.5, 2)
        box = (float(x), float(y), float(x + 0.4), float(y + 0.4))
        rows, columns = slice(int(y * side), int((y + 0.4) * side) + 1), slice(int(x * side), int((x + 0.4) * side) + 1)
        grid[label, rows, columns] += rng.uniform(0, 14)
        grid[int(rng.integers(classes))] += rng.uniform(0, 4)
        window = (1 / 6, 0.0, 5 / 6, 1.0) if wide else (0.0, 0.0, 1.0, 1.0)
        cases.append(Case(f"val/{index:05d}.jpg", photo, grid, (label,), (box,), window))
    return payload_of(cases, [f"made-up class {index}" for index in range(classes)], model="models/made_up_1000.onnx")


def payload_of(
    cases: list[Case], names: list[str], *, shown: int = 1000, model: str = "model.onnx", listed: int = 12
) -> dict[str, Any]:
    """A payload of the report from images with their grids."""
    gallery = [_image(case, listed) for case in cases]
    records = [_record(case, image) for case, image in zip(cases, gallery, strict=True)]
    used = {index for image in gallery for index in [*image["labels"], *image["classes"]]}
    used |= {index for image in gallery for index, _share in image["prediction"]}
    order = sorted(range(len(cases)), key=lambda place: (gallery[place]["right"], not gallery[place]["recoverable"]))
    return {
        "schema_version": 1,
        "version": "0.1.0",
        "summary": _summary(records, cases, model),
        "names": {str(index): names[index] for index in sorted(used)},
        "classes": _classes(records, names),
        "reliability": _bins(records),
        "gallery": {
            "total": len(cases),
            "shown": min(shown, len(cases)),
            "note": "" if len(cases) <= shown else "Errors that can be recovered come first.",
            "images": [gallery[place] for place in order[:shown]],
        },
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def cover(case: Case) -> list[int]:
    """The cells with at least half of their area in a box, by the plainest counting: 40 points each way."""
    rows, columns = case.grid.shape[1:]
    x0, y0, x1, y1 = case.window
    shares = []
    for row in range(rows):
        for column in range(columns):
            ys = y0 + (y1 - y0) * (row + (np.arange(10) + 0.5) / 10) / rows
            xs = x0 + (x1 - x0) * (column + (np.arange(10) + 0.5) / 10) / columns
            inside = np.zeros((10, 10), bool)
            for left, top, right, bottom in case.boxes:
                inside |= ((ys >= top) & (ys < bottom))[:, None] & ((xs >= left) & (xs < right))[None, :]
            shares.append(inside.mean())
    found = [cell for cell, share in enumerate(shares) if share >= 0.5]
    return found or ([int(np.argmax(shares))] if max(shares) > 0 else [])


def _image(case: Case, listed: int) -> dict[str, Any]:
    logits = case.grid.astype(np.float64).mean(axis=(1, 2))
    shares = softmax(logits)
    best = np.argsort(-logits)[:5]
    winners = case.grid.argmax(axis=0).ravel()
    foreground = cover(case)
    here = np.isin(winners[foreground], case.labels)
    right = int(best[0]) in case.labels
    recoverable = bool(not right and here.any())
    elsewhere = np.isin(np.flatnonzero(winners == best[0]), foreground, invert=True)
    cause = None
    if not right and foreground:
        cause = "absent" if not here.any() else "distraction" if elsewhere.sum() > len(elsewhere) / 2 else "dilution"
    by_cells = [int(index) for index in np.argsort(-np.bincount(winners, minlength=len(logits)), kind="stable")]
    telling = list(dict.fromkeys([*case.labels, *(int(index) for index in best), *by_cells]))[:listed]
    height, width = case.photo.shape[:2]
    return {
        "name": case.name,
        "labels": list(case.labels),
        "prediction": [[int(index), float(shares[index])] for index in best],
        "right": right,
        "cause": cause,
        "recoverable": recoverable,
        "thumb": _thumb(case.photo),
        "size": [width, height],
        "window": list(case.window),
        "boxes": [list(box) for box in case.boxes],
        "foreground": foreground,
        **encode_maps(case.grid, telling),
    }


def _record(case: Case, image: dict[str, Any]) -> dict[str, Any]:
    grid = case.grid.astype(np.float64)
    winners = grid.argmax(axis=0).ravel()
    label = case.labels[0]
    foreground = image["foreground"]
    others = [cell for cell in range(winners.size) if cell not in set(foreground)]
    flat = grid.reshape(len(grid), -1)
    rank = lambda scores: int((scores > scores[label]).sum())  # noqa: E731
    cells = softmax(flat)
    ranks = (flat[:, foreground] > flat[label, foreground]).sum(axis=0)
    evidence = np.clip(flat[label] - flat.mean(axis=0), 0, None)
    return {
        "label": label,
        "answer": image["prediction"][0][0],
        "confidence": image["prediction"][0][1],
        "image": image,
        "ranks": {
            "mean": rank(flat.mean(axis=1)),
            "max": rank(flat.max(axis=1)),
            "lse": rank(np.log(np.exp(flat).mean(axis=1))),
            "topk": rank(np.sort(flat, axis=1)[:, -max(1, flat.shape[1] // 5) :].mean(axis=1)),
            "softmax_weighted": rank((softmax(flat.T).T * flat).sum(axis=1)),
            "noisy_or": rank(-np.log1p(-np.clip(cells, 0, 1 - 1e-12)).sum(axis=1)),
            "median": rank(np.median(flat, axis=1)),
            "generalized_mean": rank((cells**3).mean(axis=1)),
            "prob_mean": rank(cells.mean(axis=1)),
        },
        "any_top1": bool((ranks == 0).any()),
        "any_top5": bool((ranks < 5).any()),
        "most_top1": bool((ranks == 0).mean() > 0.5) if len(ranks) else False,
        "cell_share": float((ranks == 0).mean()) if len(ranks) else 0.0,
        "background_share": float((winners[others] == label).mean()) if others else 0.0,
        "evidence_outside": float(evidence[others].sum() / (evidence.sum() or 1)),
        "pointing": int(flat[label].argmax()) in foreground,
        "centre": any(x0 <= 0.5 < x1 and y0 <= 0.5 < y1 for x0, y0, x1, y1 in case.boxes),
        "area": float(sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in case.boxes)),
    }


def _summary(records: list[dict[str, Any]], cases: list[Case], model: str) -> dict[str, Any]:
    images = len(records)
    right = [record for record in records if record["image"]["right"]]
    wrong = [record for record in records if not record["image"]["right"]]
    share = lambda flags: float(np.mean(list(flags)))  # noqa: E731
    top = lambda key, places: share(record["ranks"][key] < places for record in records)  # noqa: E731
    aggregators = {
        key: {
            "top1": top(key, 1),
            "top5": top(key, 5),
            "macro_top1": top(key, 1),
            "macro_top5": top(key, 5),
            "interval": interval(top(key, 1), images),
        }
        for key in records[0]["ranks"]
    }
    return {
        "schema_version": 1,
        "model": model,
        "data": {"path": "data/val", "source": f"{images} images in folders, one for each class", "kind": "folders"},
        "images": images,
        "failed": 2,
        "failures": [
            {"image": "val/broken.jpg", "error": "is cut short after 1,024 bytes."},
            {"image": "val/empty.png", "error": "is empty."},
        ],
        "preprocess": {
            "layout": "NCHW",
            "color": "RGB",
            "size": [96, 96],
            "resize": "squash",
            "crop": 1.0,
            "interpolation": "bilinear",
            "scale": 0.00392157,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "dtype": "float32",
        },
        "preprocess_source": "preprocessing JSON beside the model",
        "class_map": {"offset": 0, "source": "Labels are the model's own classes."},
        "verdict": "exact",
        "provider": {
            "requested": "auto",
            "used": "cpu",
            "device": "CPU",
            "reason": "no NVIDIA driver was found",
            "nodes": {"CPUExecutionProvider": 21},
        },
        "versions": {"onnxruntime": "1.31.1", "python": "3.11.2"},
        "top1": top("mean", 1),
        "top5": top("mean", 5),
        "macro": {"top1": top("mean", 1), "top5": top("mean", 5)},
        "aggregators": aggregators,
        "foreground": {"right": _recovery(right), "wrong": _recovery(wrong)},
        "recoverable": {
            "images": sum(record["image"]["recoverable"] for record in records),
            "share": share(record["image"]["recoverable"] for record in wrong) if wrong else None,
        },
        "error_causes": {cause: sum(record["image"]["cause"] == cause for record in records) for cause in CAUSES},
        "background_reliance": share(record["evidence_outside"] for record in records),
        "background": {
            "share": share(record["evidence_outside"] for record in records),
            "centred_box": 0.52,
            "random_box": 1 - share(record["area"] for record in records),
            "only_background_errors": 3,
        },
        "edges": None,
        "pointing_game": share(record["pointing"] for record in records),
        "pointing_game_centre": share(record["centre"] for record in records),
        "maxboxacc_v2": 0.61,
        "localization": {
            "iou_0.3": 0.83,
            "iou_0.5": 0.64,
            "iou_0.7": 0.36,
            "mean": 0.61,
            "threshold": 0.35,
            "oracle": {"iou_0.3": 0.84, "iou_0.5": 0.66, "iou_0.7": 0.39, "mean": 0.63},
            "halves": {"objects": [(images + 1) // 2, images // 2], "thresholds": [0.36, 0.35]},
            "centre_box": {"iou_0.3": 0.5, "iou_0.5": 0.3, "iou_0.7": 0.1, "mean": 0.3},
        },
        "pxap": None,
        "calibration": {"ece": _ece(records)},
        "several_objects": None,
        "intervals": {"top1": interval(top("mean", 1), images), "top5": interval(top("mean", 5), images)},
    }


def interval(share: float, images: int) -> list[float]:
    """The normal approximation; enough for a picture."""
    half = 1.96 * float(np.sqrt(share * (1 - share) / images))
    return [max(0.0, share - half), min(1.0, share + half)]


def _recovery(records: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("any_top1", "any_top5", "most_top1", "cell_share", "background_share")
    return {"images": len(records)} | {
        key: float(np.mean([record[key] for record in records])) if records else None for key in keys
    }


def _classes(records: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for index, name in enumerate(names):
        mine = [record for record in records if record["label"] == index]
        answers = [record["answer"] for record in mine if record["answer"] != index]
        counts = sorted(
            ((answer, answers.count(answer)) for answer in set(answers)), key=lambda item: (-item[1], item[0])
        )
        mean = lambda values, mine=mine: float(np.mean(list(values))) if mine else None  # noqa: E731
        rows.append(
            {
                "index": index,
                "name": name,
                "images": len(mine),
                "top1": mean(record["ranks"]["mean"] < 1 for record in mine),
                "top5": mean(record["ranks"]["mean"] < 5 for record in mine),
                "any_top1": mean(record["any_top1"] for record in mine),
                "cell_share": mean(record["cell_share"] for record in mine),
                "most_confused": [list(item) for item in counts[:3]],
            }
        )
    return rows


def _bins(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bins = []
    for place in range(15):
        low, high = place / 15, (place + 1) / 15
        mine = [record for record in records if low < record["confidence"] <= high]
        bins.append(
            {
                "low": low,
                "high": high,
                "images": len(mine),
                "confidence": float(np.mean([record["confidence"] for record in mine])) if mine else None,
                "accuracy": float(np.mean([record["image"]["right"] for record in mine])) if mine else None,
            }
        )
    return bins


def _ece(records: list[dict[str, Any]]) -> float:
    bins = [item for item in _bins(records) if item["images"]]
    return sum(item["images"] * abs(item["confidence"] - item["accuracy"]) for item in bins) / len(records)


def _photo(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    knots = rng.uniform(0, 255, (3, 3, 3)).astype(np.float32)
    return np.clip(cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def _thumb(photo: np.ndarray) -> str:
    longest = max(photo.shape[:2])
    if longest > 320:
        size = tuple(round(side * 320 / longest) for side in photo.shape[1::-1])
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _digit_names() -> list[str]:
    return MODEL.with_suffix(".labels.txt").read_text(encoding="utf-8").split()
