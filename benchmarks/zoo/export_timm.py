"""timm: the smallest variant of every module that has entry points, with random weights, by both PyTorch exporters.

The choice of variants, and what timm's own model says of its head, is kept in ``timm_models.csv``; ``--choose`` makes
that file again (it builds every model of timm, about ten minutes).
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

CHOICE = Path(__file__).with_name("timm_models.csv")
COLUMNS = ("module", "model", "parameters", "size", "pools", "head")
#: Sizes to try, not square first: a swap of rows and columns shows. What fixes its size gets its own.
SIZES = ((96, 128), (128, 128), (224, 224), (256, 256))
#: At 224 px VGG's first dense layer, a 7x7 convolution, leaves a map of one cell; at this size there is a grid.
#: CSATv2 pools adaptively inside, which the legacy exporter only writes where the sizes divide.
LARGER = {"vgg": (256, 288), "csatv2": (256, 256)}
#: Above this many parameters, depth is cut where the model has an argument for it: heads are what is looked at.
MANY = 1_000_000
SHORTER: tuple[dict[str, Any], ...] = (
    {"depth": 2},
    {"depths": (1, 1, 1, 1)},
    {"depths": (2, 2, 2, 2)},
    {"layers": (1, 1, 1, 1)},
)
#: The legacy exporter cannot write unfold and fold over blocks (halo attention): the module's next smallest stands in.
UNEXPORTABLE = ("halonet", "sehalonet", "haloregnet", "lamhalobotnet", "halo2botnet")
_BIG = re.compile(r"x?xlarge|large|huge|giant|_xx?l|_[lhg]_|152|200|269|420|350|270|enormous|so400m|_b[4-8]|_7b|2b|5b")


def cases() -> Iterable[dict[str, Any]]:
    """Every module by every exporter, the quick exporter and the small models first."""
    with CHOICE.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["parameters"]))
    for exporter in ("torch legacy", "torch dynamo"):
        for row in rows:
            pools = {"yes": True, "no": False}[row["pools"]]
            case = {
                "exporter": exporter,
                "group": row["module"],
                "model": row["model"],
                "pools": pools,
                "head": row["head"],
            }
            yield {**case, "size": row["size"], "cut": int(row["parameters"]) > MANY}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one variant."""
    from benchmarks.zoo import torch_common

    path = folder / f"timm-{case['model']}-{case['exporter'].split()[-1]}.onnx"
    problem: Exception | None = None
    for shorter in (*SHORTER, {}) if case["cut"] else ({},):
        try:
            model, image = _model(case["model"], case["group"], case["size"], shorter)
        except Exception as error:  # noqa: BLE001 - models raise what they like
            problem = error
            continue
        return {**torch_common.export(model, image, case["exporter"], path), "cut": shorter}
    raise ValueError(str(problem)) from problem


def _model(name: str, module: str, size: str, shorter: dict[str, Any]) -> tuple[Any, Any]:
    import timm
    import torch

    from benchmarks.zoo import torch_common

    problem: Exception | None = None
    channels, *own = (int(extent) for extent in size.rstrip("!").split("x"))
    for height, width in (LARGER[module], own) if module in LARGER else (own,) if size.endswith("!") else (*SIZES, own):
        torch.manual_seed(0)
        model = timm.create_model(name, exportable=True, num_classes=torch_common.CLASSES, **shorter).eval()
        image = torch.randn(2, channels, height, width)
        try:
            with torch.no_grad():
                model(image)
            torch_common.settle(model, image)
        except Exception as error:  # noqa: BLE001 - models raise what they like
            problem = error
            continue
        return model, image
    raise ValueError(f"{name} runs at no size that was tried: {problem}") from problem


# --- the choice -------------------------------------------------------------------------------------------------------


def choose() -> None:
    """Build every model without memory, keep the smallest of each module, and look at its head."""
    import timm

    with CHOICE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for module in timm.list_modules():
            names = [name for name in timm.list_models(module=module) if not name.startswith(UNEXPORTABLE)]
            small = [name for name in names if not _BIG.search(name)] if len(names) > 12 else names
            sized = [(_count(name), name) for name in small or names]
            parameters, name = min(entry for entry in sized if entry[0])
            writer.writerow((module, name, parameters, *describe(name)))
            print(module, name, parameters, flush=True)


def _count(name: str) -> int:
    """Parameters of a variant; 0 if it cannot be built."""
    import timm
    import torch

    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                return sum(parameter.numel() for parameter in timm.create_model(name, exportable=True).parameters())
        except Exception as error:  # noqa: BLE001 - models raise what they like
            print(f"{name} on {device}: {error}", file=sys.stderr)
    return 0


#: Modules whose model does not say by itself how it pools; looked up in timm's sources.
KNOWN = {
    "hiera": ("yes", "mean over tokens, then LayerNorm, Linear"),
    "hieradet_sam2": ("yes", "mean over positions, then LayerNorm, Linear"),
    "levit": ("yes", "mean over tokens, then BatchNorm, Linear (twice, averaged)"),
    "efficientvim": (
        "no",
        "means of three stages' learned states and of the last map, each with its Linear, added with learned weights",
    ),
    "mambaout": ("yes", "mean over positions, then LayerNorm, MLP"),
    "selecsls": ("yes", "avg pool, Linear"),
    "sequencer": ("yes", "mean over positions, then Linear"),
}


def describe(name: str) -> tuple[str, str, str]:
    """Size as ``CxHxW``, with ``!`` where it is fixed; whether the default head pools; and that head in words."""
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(name, exportable=True, num_classes=10)
    module = type(model).__module__.rsplit(".", 1)[-1]
    size = "x".join(str(extent) for extent in model.default_cfg["input_size"])
    size += "!" if model.default_cfg.get("fixed_input_size") else ""
    if module in KNOWN:
        return size, *KNOWN[module]
    found = [_pool_name(getattr(owner, "global_pool", None)) for owner in (model, getattr(model, "head", None))]
    pool = next((kind for kind in found if kind is not None), "unknown")
    after = [layer for layer in _after_pool(model) if layer not in ("Dropout", "Identity", "Flatten")]
    words = {"token": "class token", "map": "attention pool", "": "no pool"}.get(pool, f"{pool} pool")
    return size, "no" if pool in ("token", "map", "", "unknown") else "yes", ", ".join([words, *after])


def _pool_name(pool: Any) -> str | None:
    if pool is None or isinstance(pool, str):
        return pool
    kind = getattr(pool, "pool_type", None)
    return str(kind) if kind is not None else "avg" if type(pool).__name__ == "AdaptiveAvgPool2d" else None


def _after_pool(model: Any) -> list[str]:
    """Classes of the layers behind the pool, as far as the model's order of children tells."""
    names: list[str] = []
    for name, child in list(model.named_children())[-4:]:
        if name in ("head", "head_dist", "fc", "classifier", "fc_norm", "last_linear", "heads", "conv_head"):
            inner = [kid for kid in child.named_children() if kid[0] not in ("global_pool", "in_conv", "attn_pool")]
            names += [type(kid[1]).__name__ for kid in inner] or [type(child).__name__]
    return names


if __name__ == "__main__":
    if sys.argv[1:] == ["--choose"]:
        from benchmarks.zoo import torch_common  # noqa: F401 - before torchvision

        choose()
    else:
        protocol.main(cases, answer)
