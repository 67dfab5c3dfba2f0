"""The audit's measures once more, cell by cell in plain Python, from their definitions: slow and independent."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


def overlap(cell: tuple[float, ...], box: tuple[float, ...]) -> float:
    """Common area of two rectangles."""
    width = min(cell[2], box[2]) - max(cell[0], box[0])
    height = min(cell[3], box[3]) - max(cell[1], box[1])
    return max(width, 0.0) * max(height, 0.0)


def measure(logits: np.ndarray, grid: np.ndarray, label: int, boxes: list, rectangles: list) -> dict[str, Any]:
    """One image with one label.

    Args:
        logits: (K,).
        grid: (K, H, W).
        label: the true class.
        boxes: of the object.
        rectangles: of the cells in the photo, row by row.
    """
    count, rows, cols = grid.shape
    order = sorted(range(count), key=lambda k: (-logits[k], k))
    prediction = order[0]
    shares = []
    for cell in rectangles:
        area = (cell[2] - cell[0]) * (cell[3] - cell[1])
        shares.append(max((overlap(cell, box) / area if area else 0.0) for box in boxes))
    foreground = [index for index, share in enumerate(shares) if share >= 0.5 - 1e-9]
    if not foreground:
        if max(shares) == 0.0:
            return {"rank": order.index(label), "foreground": None}
        foreground = [shares.index(max(shares))]
    columns = [[float(grid[k, p // cols, p % cols]) for k in range(count)] for p in range(rows * cols)]
    orders = [sorted(range(count), key=lambda k: (-column[k], k)) for column in columns]
    winners = [
        each[0] if column[each[0]] > column[each[1]] else None for each, column in zip(orders, columns, strict=True)
    ]
    background = [p for p in range(rows * cols) if p not in foreground]
    right_here = [p for p in foreground if winners[p] == label]
    right_there = [p for p in background if winners[p] == label]
    seen5 = [p for p in foreground if label in orders[p][:5]]
    result: dict[str, Any] = {
        "rank": order.index(label),
        "prediction": prediction,
        "foreground_cells": foreground,
        "foreground": {
            "any_top1": bool(right_here),
            "any_top5": bool(seen5),
            "most_top1": 2 * len(right_here) > len(foreground),
            "most_top5": 2 * len(seen5) > len(foreground),
            "cell_share": len(right_here) / len(foreground),
            "background_share": len(right_there) / len(background) if background else None,
        },
        "cause": None,
    }
    won = [p for p in range(rows * cols) if winners[p] == prediction]
    if prediction != label:
        outside = [p for p in won if p in background]
        if not right_here:
            result["cause"] = "absent"
        elif outside and len(outside) > len(won) - len(outside):
            result["cause"] = "distraction"
        else:
            result["cause"] = "dilution"
        result["margin"] = {
            "foreground": sum(columns[p][label] - columns[p][prediction] for p in foreground) / (rows * cols),
            "background": sum(columns[p][label] - columns[p][prediction] for p in background) / (rows * cols),
        }
    result["only_background"] = bool(won) and not any(p in foreground for p in won)
    evidence = [max(column[prediction] - sum(column) / count, 0.0) for column in columns]
    result["evidence"] = evidence
    ring = [p for p in range(rows * cols) if p // cols in (0, rows - 1) or p % cols in (0, cols - 1)]
    energy = [sum((value - sum(column) / count) ** 2 for value in column) for column in columns]
    result["ring"] = {
        name: sum(values[p] for p in ring) / sum(values) if sum(values) > 1e-9 else None
        for name, values in (
            ("evidence", evidence),
            ("energy", energy),
            ("winners", [float(winner == prediction) for winner in winners]),
        )
    }
    highest = max(column[label] for column in columns)
    result["pointing"] = all(shares[p] > 0.0 for p in range(rows * cols) if columns[p][label] == highest)
    return result


def maxboxacc_successes(plane: np.ndarray, boxes: np.ndarray, interval: float = 0.01) -> np.ndarray:
    """(3, thresholds): what wsolevaluation's MaxBoxAccV2 does for one image, threshold by threshold.

    Written after the description of arXiv 2007.04178 and the behaviour of its published evaluation: bicubic map of
    224 x 224, min-max, 8 bits, all contours (a tree, holes too), ends of boxes one late, both corners inclusive.

    Args:
        plane: (H, W) of one class.
        boxes: (n, 4) int, on the map.
        interval: between thresholds.
    """
    cam = cv2.resize(plane.astype(np.float32), (224, 224), interpolation=cv2.INTER_CUBIC)
    if cam.min() == cam.max():
        cam = np.zeros_like(cam)
    else:
        cam = cam - cam.min()
        cam = cam / cam.max()
    gray = np.expand_dims((cam * 255).astype(np.uint8), 2)
    flags = []
    for tau in np.arange(0, 1, interval):
        _, cut = cv2.threshold(gray, int(tau * np.max(gray)), 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        found = [(0, 0, 0, 0)] if len(contours) == 0 else []
        for contour in contours:
            x, y, w, h = cv2.boundingRect(contour)
            found.append((x, y, min(x + w, 223), min(y + h, 223)))
        best = 0.0
        for a in found:
            for b in boxes.tolist():
                across = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
                down = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
                common = across * down
                areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
                best = max(best, common / (sum(areas) - common))
        flags.append([best >= iou for iou in (0.3, 0.5, 0.7)])
    return np.array(flags).T


def boxes_above(score_map: np.ndarray, share: float) -> list[tuple[int, int, int, int]]:
    """Boxes [x0, y0, x1, y1] of all contours above a share of the range, as wsolevaluation cuts them (see above).

    Args:
        score_map: (224, 224), 0 to 1.
        share: of the range.
    """
    cut = cv2.threshold((score_map * 255).astype(np.uint8), int(share * 255), 255, cv2.THRESH_BINARY)[1]
    found = [cv2.boundingRect(contour) for contour in cv2.findContours(cut, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]]
    return [(x, y, min(x + w, 223), min(y + h, 223)) for x, y, w, h in found]


def maxboxacc_one_box(plane: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(100,): what wsolevaluation's MaxBoxAcc does for one image at an IoU of 0.5: the contour of the largest area.

    Written anew after arXiv 2007.04178, section 4.1, and the behaviour of its published evaluation; as above.
    """
    cam = cv2.resize(plane.astype(np.float32), (224, 224), interpolation=cv2.INTER_CUBIC)
    span = cam.max() - cam.min()
    cam = (cam - cam.min()) / (cam - cam.min()).max() if span > 0 else np.zeros_like(cam)
    gray = np.uint8(cam * 255)
    flags = []
    for step in range(100):
        cut = np.where(gray > int(np.arange(0, 1, 0.01)[step] * gray.max()), np.uint8(255), np.uint8(0))
        contours = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        x0 = y0 = x1 = y1 = 0
        if contours:
            x0, y0, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
            x1, y1 = min(x0 + w, 223), min(y0 + h, 223)
        best = 0.0
        for a0, b0, a1, b1 in boxes.tolist():
            common = max(0, min(x1, a1) - max(x0, a0) + 1) * max(0, min(y1, b1) - max(y0, b0) + 1)
            union = (x1 - x0 + 1) * (y1 - y0 + 1) + (a1 - a0 + 1) * (b1 - b0 + 1) - common
            best = max(best, common / union)
        flags.append(best >= 0.5)
    return np.array(flags)
