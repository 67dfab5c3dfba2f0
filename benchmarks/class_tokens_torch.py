"""Class-token grids against PyTorch: the same weights in float64, every direct effect as a derivative.

Run in an environment with torch, timm and transformers; it writes models and grids, which ``--check`` compares in the
project's own:

    python -m benchmarks.class_tokens_torch --out DIR            # with torch
    python -m benchmarks.class_tokens_torch --check DIR --markdown docs/benchmarks/class_tokens_torch.md   # without

In PyTorch each attention's weights and values, each norm's deviation and each MLP are cut off from the derivative, and
what an attention brings the token from patch p is multiplied by ``1 + e_p``: the derivative of a logit by ``e_p`` is
then what p brings, over all layers. Nothing of it is spelled as the package spells it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pages

COMMAND = "python -m benchmarks.class_tokens_torch --check {folder} --markdown docs/benchmarks/class_tokens_torch.md"
#: By which part of the largest value a file may differ.
ALLOWED = 1e-4
SIZE, PATCH, CLASSES = 64, 16, 10
CELLS = (SIZE // PATCH) ** 2
_BASE = {
    "img_size": SIZE,
    "patch_size": PATCH,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 4,
    "num_classes": CLASSES,
}
#: Modules whose answer is kept at its value.
_MLPS = (
    "Mlp", "GluMlp", "SwiGLU", "ViTIntermediate", "Dinov2MLP", "ViTMLP", "DeiTIntermediate", "ViTMSNIntermediate",
    "CvtIntermediate",
)  # fmt: skip
#: What CvT multiplies weights and values by.
_EINSUM = "bhlt,bhtv->bhlv"


def architectures() -> dict[str, Callable[[], Any]]:
    """Small networks of each family, by name."""
    import timm.layers
    from timm.models import cait, deit, vision_transformer, xcit

    vit = vision_transformer.VisionTransformer
    return {
        "vit": lambda: vit(**_BASE),
        "layer-scale": lambda: vit(**_BASE, init_values=0.5),
        "qk-norm": lambda: vit(**_BASE, qk_norm=True),
        "registers": lambda: vit(**_BASE, reg_tokens=4),
        "swiglu": lambda: vit(**_BASE, mlp_layer=timm.layers.SwiGLUPacked, mlp_ratio=4),
        "norm before": lambda: vit(**_BASE, pre_norm=True),
        "distilled": lambda: deit.VisionTransformerDistilled(**_BASE),
        "cait": lambda: cait.Cait(**_BASE, depth_token_only=2),
        "xcit": lambda: xcit.Xcit(**_BASE, cls_attn_layers=2, eta=1.0),
        "hf_vit": _hf_vit,
        "cvt": _cvt,
    }


def _hf_vit() -> Any:
    import transformers

    settings = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
        image_size=SIZE, patch_size=PATCH, num_labels=CLASSES,
    )  # fmt: skip
    return _logits_of(transformers.ViTForImageClassification(settings))


def _cvt() -> Any:
    """A class token in the last stage alone, whose keys and values are convolutions of the map of patches."""
    import transformers

    settings = transformers.CvtConfig(
        embed_dim=[16, 24, 32], num_heads=[1, 2, 2], depth=[1, 2, 3], stride_kv=[2, 2, 1], num_labels=CLASSES,
    )  # fmt: skip
    return _logits_of(transformers.CvtForImageClassification(settings))


def _logits_of(inner: Any) -> Any:
    from torch import nn

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Any) -> Any:
            return self.inner(images).logits

    return Logits()


def shaken(model: Any) -> Any:
    """Weights away from their start, at which tokens and heads are 0."""
    import torch

    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=noise))
            if "head" in name and weight.ndim == 2:
                weight.copy_(0.2 * torch.randn(weight.shape, generator=noise))
            if "gamma" in name:
                weight.copy_(0.5 + 0.2 * torch.randn(weight.shape, generator=noise))
    return model.eval()


def grid_by_derivatives(model: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) and grid (N, K, P) of direct effects, float64."""
    import torch
    from torch.nn import functional

    model = model.double()
    plain = torch.from_numpy(images).double()
    parts: list[Any] = []
    rows = 2 if hasattr(model, "head_dist") else 1
    real, letters = (functional.scaled_dot_product_attention, functional.layer_norm), torch.einsum

    def attention(query: Any, key: Any, value: Any, mask: Any = None, *_: Any, scale: Any = None, **more: Any) -> Any:
        mask = more.get("attn_mask", mask)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        weights = (scores if mask is None else scores + mask).softmax(-1).detach()
        value = value.detach()
        brought = weights @ value
        return passed(weights, value, brought)

    def by_letters(equation: str, *operands: Any) -> Any:
        if equation != _EINSUM:
            return letters(equation, *operands)
        weights, value = (operand.detach() for operand in (operands[0] if len(operands) == 1 else operands))
        return passed(weights, value, weights @ value)

    def passed(weights: Any, value: Any, brought: Any) -> Any:
        """What an attention brings, that of each place times ``1 + e``."""
        if not 1 <= weights.shape[-1] - CELLS <= 5:  # XCiT's, between channels, or one without the token
            return brought
        change = torch.zeros(len(value), CELLS, dtype=torch.float64, requires_grad=True)
        parts.append(change)
        places = value[:, :, -CELLS:]
        more_of = torch.einsum("nhtp,np,nhpd->nhtd", weights[:, :, :rows, -CELLS:], change, places)
        return torch.cat([brought[:, :, :rows] + more_of, brought[:, :, rows:]], dim=2)

    def norm(data: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
        centred = data - data.mean(-1, keepdim=True)
        size = (centred.detach() ** 2).mean(-1, keepdim=True).add(eps).sqrt()
        return centred / size * weight + bias

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, answer: answer.detach())
        for module in model.modules()
        if type(module).__name__ in _MLPS
    ]
    functional.scaled_dot_product_attention, functional.layer_norm = attention, norm
    torch.einsum = by_letters
    try:
        logits = model(plain)
        grids = []
        for k in range(CLASSES):
            found = torch.autograd.grad(logits[:, k].sum(), parts, retain_graph=True, allow_unused=True)
            placed = sum(part for part in found if part is not None)
            grids.append(CELLS * placed + (logits[:, k] - placed.sum(1)).detach()[:, None])
    finally:
        functional.scaled_dot_product_attention, functional.layer_norm = real
        torch.einsum = letters
        for hook in hooks:
            hook.remove()
    return logits.detach().numpy(), torch.stack(grids, 1).numpy()


def write(folder: Path) -> None:
    """Export each network by both exporters, and write what PyTorch says."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)
    for name, make in architectures().items():
        torch.manual_seed(0)
        model = shaken(make())
        names = {"input_names": ["x"], "output_names": ["y"]}
        example = (torch.zeros(2, 3, SIZE, SIZE),)
        axes = {"x": {0: "batch"}, "y": {0: "batch"}}
        legacy, dynamo = (folder / f"{name}.{kind}.onnx" for kind in ("legacy", "dynamo"))
        torch.onnx.export(model, example, legacy, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            model, example, dynamo, dynamo=True, opset_version=20, dynamic_shapes=shapes, external_data=False, **names
        )
        logits, grid = grid_by_derivatives(model, images)
        np.savez(folder / f"{name}.npz", images=images, logits=logits, grid=grid)
        sys.stdout.write(f"{name}: written\n")
        sys.stdout.flush()


def check(folder: Path, markdown: Path | None) -> int:
    """Compare each file's grid with PyTorch's; 1 if any differs by more than `ALLOWED` of its largest value.

    Args:
        folder: what `write` made.
        markdown: page to write.
    """
    import onnxruntime

    from onnx_gapmil.rewriting.rewriter import rewrite_model

    rows, worst = [], 0.0
    for path in sorted(folder.glob("*.onnx")):
        name, exporter, _ = path.name.split(".")
        known = np.load(folder / f"{name}.npz")
        found = rewrite_model(path, class_token="direct")  # noqa: S106 - no password
        session = onnxruntime.InferenceSession(found.model.SerializeToString())
        head = found.heads[0]
        logits, grid = session.run([head.logits, head.grid], {"x": known["images"]})
        gaps = [
            float(np.abs(mine.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max())
            for mine, theirs in ((logits, known["logits"]), (grid, known["grid"]))
        ]
        worst = max(worst, *gaps)
        rows.append([name, exporter, *(f"{gap:.1e}" for gap in gaps)])
        sys.stdout.write(f"{path.name}: logits {gaps[0]:.1e}, grid {gaps[1]:.1e}\n")
        sys.stdout.flush()
    lines = [
        "# Class tokens against PyTorch",
        "",
        *pages.made_by(COMMAND.format(folder="DIR")),
        "",
        f"{len({row[0] for row in rows})} architectures of {SIZE} x {SIZE} pixels, random weights, {len(rows)} files; "
        "the same weights in float64 in PyTorch, each direct effect as a derivative, three images of noise.",
        f"How far logits and `direct` cells differ at most, as a share of the largest; {ALLOWED:.0e} is allowed.",
        "",
        *pages.table(["architecture", "exporter", "logits", "grid"], rows, numbers_from=2),
    ]
    pages.write(markdown, lines)
    return int(not rows or worst > ALLOWED)


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--check", type=Path)
    parser.add_argument("--markdown", type=Path)
    chosen = parser.parse_args()
    if chosen.out is not None:
        write(chosen.out)
    return check(chosen.check, chosen.markdown) if chosen.check is not None else 0


if __name__ == "__main__":
    raise SystemExit(main())
