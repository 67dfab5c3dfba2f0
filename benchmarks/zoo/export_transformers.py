"""transformers: image-classification architectures in tiny random configurations, by both PyTorch exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.zoo import protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TOKENS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
}
_PATCHES = {**_TOKENS, "patch_size": 16}
_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
#: By architecture: its classes' stem, does the head pool, that head in words, its small configuration.
MODELS: dict[str, tuple[str, bool, str, dict[str, Any]]] = {
    "beit": ("Beit", True, "mean over patches, LayerNorm, Linear", _PATCHES),
    "bit": ("Bit", True, "avg pool, Linear", {**_STAGES, "embedding_size": 8, "num_groups": 4}),
    "clip": ("CLIP", True, "mean over patches, Linear", {"vision_config": _PATCHES}),
    "convnext": ("ConvNext", True, "avg pool, LayerNorm, Linear", _STAGES),
    "convnextv2": ("ConvNextV2", True, "avg pool, LayerNorm, Linear", _STAGES),
    "cvt": ("Cvt", False, "class token, LayerNorm, mean over one token, Linear", {}),
    "data2vec": ("Data2VecVision", True, "mean over patches, LayerNorm, Linear", _PATCHES),
    "deit": ("DeiT", False, "class token, Linear", _PATCHES),
    "dinov2": ("Dinov2", False, "class token and mean over patches, Linear", _PATCHES),
    "dinov2_registers": ("Dinov2WithRegisters", False, "class token and mean over patches, Linear", _PATCHES),
    "donut_swin": (
        "DonutSwin",
        True,
        "mean over patches, Linear",
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "image_size": 128, "window_size": 4},
    ),
    "efficientnet": (
        "EfficientNet",
        True,
        "avg pool, Linear",
        {"image_size": 128, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    ),
    "focalnet": (
        "FocalNet",
        True,
        "mean over patches, Linear",
        {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 1]},
    ),
    "hgnet_v2": ("HGNetV2", True, "avg pool, Flatten, Linear", {}),
    "hiera": (
        "Hiera",
        True,
        "mean over tokens, LayerNorm, Linear",
        {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    ),
    "ijepa": ("IJepa", True, "mean over tokens, Linear", _PATCHES),
    "levit": ("Levit", True, "mean over tokens, BatchNorm, Linear", {}),
    "mobilenet_v1": ("MobileNetV1", True, "avg pool, Linear", {"image_size": 128, "depth_multiplier": 0.25}),
    "mobilenet_v2": ("MobileNetV2", True, "avg pool, Linear", {"image_size": 128, "depth_multiplier": 0.35}),
    "mobilevit": (
        "MobileViT",
        True,
        "mean, Linear",
        {"image_size": 128, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64]},
    ),
    "mobilevitv2": ("MobileViTV2", True, "mean, Linear", {"image_size": 128, "width_multiplier": 0.5}),
    "poolformer": ("PoolFormer", True, "GroupNorm, mean, Linear", _STAGES),
    "pvt": (
        "Pvt",
        False,
        "class token, Linear",
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 2],
        },
    ),
    "pvt_v2": (
        "PvtV2",
        True,
        "mean over tokens, Linear",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
    ),
    "regnet": ("RegNet", True, "avg pool, Flatten, Linear", {**_STAGES, "embedding_size": 8, "groups_width": 8}),
    "resnet": ("ResNet", True, "avg pool, Flatten, Linear", {**_STAGES, "embedding_size": 8}),
    "segformer": (
        "Segformer",
        True,
        "mean over tokens, Linear",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
    ),
    "siglip": ("Siglip", True, "mean over patches, Linear", {"vision_config": _PATCHES}),
    "swiftformer": (
        "SwiftFormer",
        True,
        "BatchNorm, mean over positions, two Linear averaged",
        {"image_size": 128, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]},
    ),
    "swin": (
        "Swin",
        True,
        "LayerNorm, mean over tokens, Linear",
        {
            "image_size": 64,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [1, 1, 1],
            "num_heads": [2, 2, 2],
            "window_size": 4,
        },
    ),
    "swinv2": (
        "Swinv2",
        True,
        "LayerNorm, mean over tokens, Linear",
        {
            "image_size": 64,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [1, 1, 1],
            "num_heads": [2, 2, 2],
            "window_size": 4,
        },
    ),
    "vit": ("ViT", False, "class token, Linear", _PATCHES),
    "vit_msn": ("ViTMSN", False, "class token, Linear", _PATCHES),
}
_SIZES = {"hiera": 224, "levit": 224, "donut_swin": 128, "hgnet_v2": 128, "cvt": 128}
_SIDE = 64


def cases() -> Iterable[dict[str, Any]]:
    """Every architecture by every exporter."""
    for exporter in ("torch legacy", "torch dynamo"):
        for name, (_, pools, head, _) in MODELS.items():
            yield {"exporter": exporter, "group": name, "model": name, "pools": pools, "head": head}


def answer(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export one architecture; only its logits."""
    import torch
    import transformers

    from benchmarks.zoo import torch_common

    stem, _, _, small = MODELS[case["model"]]
    torch.manual_seed(0)
    config = getattr(transformers, f"{stem}Config")(**small, num_labels=torch_common.CLASSES)

    class Logits(torch.nn.Module):
        """The classifier, whose answer is one tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.model = getattr(transformers, f"{stem}ForImageClassification")(config)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=image).logits

    side = small.get("image_size", small.get("vision_config", {}).get("image_size", _SIZES.get(case["model"], _SIDE)))
    side = max(side, 128) if "hidden_sizes" in small and "image_size" not in small else side
    model, image = Logits().eval(), torch.randn(2, 3, side, side)
    torch_common.settle(model, image)
    path = folder / f"transformers-{case['model']}-{case['exporter'].split()[-1]}.onnx"
    return torch_common.export(model, image, case["exporter"], path)


if __name__ == "__main__":
    protocol.main(cases, answer)
