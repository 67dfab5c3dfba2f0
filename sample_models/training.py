"""What the training scripts of all frameworks share: the scenes, the batches, the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from evaluate import FloatArray, Preprocess
from numpy.typing import NDArray
from scenes import SceneSet, make_scene_set

TRAIN_SEED = 0
TRAIN_SCENES = 24_000
BATCH = 64
PEAK_LEARNING_RATE = 4e-3  # for Adam with decoupled weight decay
WEIGHT_DECAY = 0.01
# 3x3 convolutions (channels, stride): 12x12 cells, each of which sees 43x43 pixels.
CNN_LAYERS = ((16, 2), (24, 1), (32, 2), (48, 1), (64, 2), (64, 1))


def training_scenes() -> SceneSet:
    """Makes the training set: minutes of one core, 0.7 GB."""
    return make_scene_set("train", TRAIN_SEED, TRAIN_SCENES)


def steps_per_epoch(scenes: SceneSet) -> int:
    """Returns the number of whole batches in an epoch."""
    return len(scenes.labels) // BATCH


def orders(scenes: SceneSet, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yields an epoch's whole batches in a new order: the scenes' numbers (64,)."""
    order = np.random.default_rng([TRAIN_SEED, epoch]).permutation(len(scenes.labels))
    for step in range(steps_per_epoch(scenes)):
        yield order[step * BATCH : (step + 1) * BATCH]


def batches(scenes: SceneSet, preprocess: Preprocess, epoch: int) -> Iterator[tuple[FloatArray, NDArray[np.int64]]]:
    """Yields an epoch's whole batches in a new order: model inputs and labels (64,)."""
    for chosen in orders(scenes, epoch):
        yield preprocess.apply(scenes.images[chosen]), scenes.labels[chosen]


def learning_rate(step: int, total: int, peak: float = PEAK_LEARNING_RATE) -> float:
    """Returns the rate at a step: a linear rise over the first tenth, then half a cosine down."""
    rise = max(1, total // 10)
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
