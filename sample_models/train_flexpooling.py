"""Trains nets that differ by their pool alone: the mean, and FlexPooling's learned weights (arXiv 2606.14926).

python sample_models/train_flexpooling.py                    # the samples, beside this file
python sample_models/train_flexpooling.py --study DIR        # every variant from three seeds, into DIR

FlexPooling replaces the mean over cells by ``t[c] = sum_p w[c, p] A[c, p]`` with learned ``w``, at first 1 / (H * W).
The paper holds each channel's sum near 1 by a penalty, ``sum_c (sum_p w[c, p] - 1)^2`` (its equation 2); its published
code has a softmax over positions instead. Simple auxiliary classifiers (SAC) are a pool and a linear layer on the map
of each earlier stage. The paper's code drops them at inference; here they are exported, as outputs of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from evaluate import FOLDER, FloatArray, Origin, Preprocess, check_export, finish, write_companions
from scenes import CLASS_NAMES, SCENE_SIZE, SceneSet, make_scene_set
from torch import Tensor, nn
from training import PEAK_LEARNING_RATE, TRAIN_SEED, WEIGHT_DECAY, learning_rate

CLASSES = len(CLASS_NAMES)
SCENES = 4000  # few, so that there is something left for a pool to gain
EPOCHS = 12
BATCH = 32
SEEDS = (0, 1, 2)
DROPOUT = 0.25  # of the pooled vector; the paper gives the rate, not the place
SUM_PENALTY = 1.0  # the paper does not say how much its penalty weighs
# Three stages of 3x3 convolutions (channels, stride), as ResNet-20 has three: maps of 24, 12 and 12 cells a side, whose
# cells see 7, 31 and 47 pixels.
STAGES = (((8, 2), (16, 2)), ((32, 2), (32, 1)), ((48, 1),))
STAGE_LOSSES = (0.1, 0.2, 0.7)  # the paper's; its code has 0.01, 0.11, 0.88
PREPROCESS = Preprocess(layout="NCHW", scale=1 / 255, mean=(0.25, 0.2, 0.25), std=(0.2, 0.2, 0.2))

Weights = Literal["mean", "position", "channel", "softmax"]


@dataclass(frozen=True)
class Variant:
    """A net of the study.

    `weights` are those of its pools: all alike, one for each position, or one for each position and channel, free or by
    a softmax over positions. `penalty` and `dropout` are those of the training. With `auxiliary` each stage has a
    classifier. A `sample` is kept in this folder.
    """

    name: str
    weights: Weights
    penalty: float = 0.0
    dropout: float = 0.0
    auxiliary: bool = False
    sample: bool = False


VARIANTS = (
    Variant("mean", "mean"),
    # The penalty of weights that sum to 1 is 0, so that of the paper's two additions dropout alone acts on a mean.
    Variant("mean_dropout", "mean", SUM_PENALTY, DROPOUT),
    Variant("position", "position", SUM_PENALTY, DROPOUT, sample=True),
    Variant("channel", "channel", SUM_PENALTY, DROPOUT, sample=True),
    # The published code's reading. Weights of a softmax sum to 1, so that their penalty is 0.
    Variant("softmax", "softmax", SUM_PENALTY, DROPOUT),
    Variant("mean_sac", "mean", SUM_PENALTY, DROPOUT, auxiliary=True),
    Variant("channel_sac", "channel", SUM_PENALTY, DROPOUT, auxiliary=True, sample=True),
)


class FlexPool(nn.Module):
    """A weighted sum over positions: maps (N, C, H, W) to vectors (N, C)."""

    def __init__(self, channels: int, side: int, weights: Weights) -> None:
        super().__init__()
        # In units of a mean's 1 / (H * W): Adam's steps have one size for all parameters, and would toss weights of
        # 0.007 about.
        self.learned = nn.Parameter(torch.ones(1 if weights == "position" else channels, side, side))

    def weights(self) -> Tensor:
        """Returns the weights, (1 or C, H, W)."""
        return self.learned / self.learned[0].numel()

    def forward(self, maps: Tensor) -> Tensor:
        """Weighs and sums the positions."""
        return (maps * self.weights()).sum((2, 3))

    def penalty(self) -> Tensor:
        """Returns the paper's equation 2, a scalar."""
        return (self.weights().sum((1, 2)) - 1).square().sum()


class SoftmaxPool(FlexPool):
    """The same with a softmax over each channel's positions, so that no weight is below 0 and each sum is 1."""

    def weights(self) -> Tensor:
        """Returns the weights, (C, H, W): 1 / (H * W) at first, as the parameters are all alike."""
        return self.learned.flatten(1).softmax(1).view_as(self.learned)

    def penalty(self) -> Tensor:
        """Returns 0: the weights of a softmax sum to 1."""
        return torch.zeros(())


class MeanPool(nn.Module):
    """Global average pooling: maps (N, C, H, W) to vectors (N, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Averages the positions."""
        return nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)

    def penalty(self) -> Tensor:
        """Returns 0: the weights of a mean sum to 1."""
        return torch.zeros(())


class Classifier(nn.Module):
    """A pool and a linear layer on one stage's map: (N, C, H, W) to logits (N, 10)."""

    def __init__(self, channels: int, side: int, variant: Variant) -> None:
        super().__init__()
        if variant.weights == "mean":
            self.pool: nn.Module = MeanPool()
        else:
            pool = SoftmaxPool if variant.weights == "softmax" else FlexPool
            self.pool = pool(channels, side, variant.weights)
        self.dropout = nn.Dropout(variant.dropout)
        self.linear = nn.Linear(channels, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        """Classifies a map."""
        return self.linear(self.dropout(self.pool(maps)))


class StagedNet(nn.Module):
    """Three stages of convolutions, with a classifier on the last, or on each."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.stages, self.classifiers = nn.ModuleList(), nn.ModuleList()
        inside, side = 3, SCENE_SIZE
        for index, layers in enumerate(STAGES):
            convolutions: list[nn.Module] = []
            for outside, stride in layers:
                convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
                convolutions += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
                inside, side = outside, side // stride
            self.stages.append(nn.Sequential(*convolutions))
            if variant.auxiliary or index == len(STAGES) - 1:
                self.classifiers.append(Classifier(inside, side, variant))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps images (N, 3, 96, 96) to logits (N, 10), the last stage's first, then those of the earlier stages."""
        answers = self.classify(self.maps(images))
        return (answers[-1], *answers[:-1])

    def maps(self, images: Tensor) -> list[Tensor]:
        """Returns the maps of the stages that have a classifier, (N, C, H, W) each."""
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(images)
        return found[-len(self.classifiers) :]

    def classify(self, maps: list[Tensor]) -> list[Tensor]:
        """Returns the logits of those stages, (N, 10) each."""
        return [classifier(found) for classifier, found in zip(self.classifiers, maps, strict=True)]

    def loss(self, images: Tensor, labels: Tensor, penalty: float) -> Tensor:
        """Returns the stages' cross entropies, weighed, and the pools' penalty: a scalar."""
        # The convolutions compute in bfloat16: half the time on a processor.
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.maps(images)
        answers = self.classify([found.float() for found in maps])
        shares = STAGE_LOSSES if len(answers) > 1 else (1.0,)
        parts = [
            share * nn.functional.cross_entropy(answer, labels) for share, answer in zip(shares, answers, strict=True)
        ]
        parts += [penalty * classifier.pool.penalty() for classifier in self.classifiers]
        return torch.stack(parts).sum()


def batches(scenes: SceneSet, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields an epoch's whole batches in a new order: images (32, 3, 96, 96), channels last in memory, and labels."""
    order = np.random.default_rng([seed, epoch]).permutation(len(scenes.labels))
    rows = replace(PREPROCESS, layout="NHWC")
    for chosen in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
        images = torch.from_numpy(rows.apply(scenes.images[chosen])).permute(0, 3, 1, 2)
        yield images, torch.from_numpy(scenes.labels[chosen])


def train(variant: Variant, seed: int, scenes: SceneSet) -> StagedNet:
    """Trains a net on the scenes' single labels; the seed draws first weights, dropout and the scenes' order."""
    torch.manual_seed(seed)
    model = StagedNet(variant).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    total, step = EPOCHS * (len(scenes.labels) // BATCH), 0
    for epoch in range(EPOCHS):
        losses = []
        for images, labels in batches(scenes, seed, epoch):
            optimizer.param_groups[0]["lr"] = learning_rate(step, total, PEAK_LEARNING_RATE)
            loss = model.loss(images, labels, variant.penalty)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
        print(f"{variant.name} seed {seed} epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    return model.to(memory_format=torch.contiguous_format).eval()


def export(model: StagedNet, path: Path) -> None:
    """Writes a net as one .onnx file: `logits`, and `stage1` and `stage2` where it has auxiliary classifiers."""
    outputs = ["logits", *(f"stage{index + 1}" for index in range(len(model.classifiers) - 1))]
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, SCENE_SIZE, SCENE_SIZE),),
        path,
        dynamo=False,
        input_names=["image"],
        output_names=outputs,
        opset_version=17,
        dynamic_axes={name: {0: "batch"} for name in ("image", *outputs)},
    )


def make(variant: Variant, seed: int, scenes: SceneSet, folder: Path, name: str) -> None:
    """Trains, exports and checks one net; a sample gets its card too."""
    model = train(variant, seed, scenes)
    part = folder / f"{name}.onnx.part"
    export(model, part)

    def reference(inputs: FloatArray) -> FloatArray:
        with torch.no_grad():
            return model(torch.from_numpy(inputs))[0].numpy()

    check_export(part, PREPROCESS, reference)
    part.rename(folder / f"{name}.onnx")
    if folder == FOLDER:
        parameters = sum(weights.numel() for weights in model.parameters())
        finish(
            name,
            PREPROCESS,
            Origin("PyTorch", torch.__version__, "torch.onnx.export(dynamo=False)", parameters),
            reference,
        )
    else:
        write_companions(folder / name, PREPROCESS)


def study(folder: Path, seeds: Iterable[int], scenes: SceneSet) -> None:
    """Trains every variant from every seed into a folder; what lies there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for variant in VARIANTS:
        for seed in seeds:
            name = f"{variant.name}_{seed}"
            if not (folder / f"{name}.onnx").exists():
                make(variant, seed, scenes, folder, name)


def main() -> None:
    """Trains and exports the samples, or the study's nets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--study", type=Path, metavar="DIR", help="train every variant, into DIR")
    parser.add_argument("--seed", type=int, action="append", help=f"a seed of the study (default: {SEEDS})")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the nets are too small for more, and a seed gives the same net again
    scenes = make_scene_set("train", TRAIN_SEED, SCENES)
    if arguments.study:
        study(arguments.study, arguments.seed or SEEDS, scenes)
        return
    for variant in VARIANTS:
        if variant.sample:
            make(variant, SEEDS[0], scenes, FOLDER, f"digits_torch_flex_{variant.name}")


if __name__ == "__main__":
    main()
