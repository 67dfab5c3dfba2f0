"""Write tests/golden/*.npz: what the libraries themselves make of a few pictures, for tests that need none of them.

Run it once in an environment that has TensorFlow, and once in one that has PyTorch, torchvision, timm and
transformers; it writes what it can, and says which versions made it (key "versions" of each file)::

    python -m tools.make_resize_golden tensorflow
    python -m tools.make_resize_golden torch timm transformers

Of each result 10 x 10 pixels are kept: of a resize as fixed-point numbers, `(grey level + 64) * 128`; of a whole
preprocessing, the normalized numbers in half precision.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tests.helpers.golden_photos import photo, sampled

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"

#: (height, width) of the picture and of the result: odd, portrait, tiny, enlarged, halved, and a huge one made small.
SIZES = (
    ((61, 47), (20, 30)),
    ((61, 47), (100, 120)),
    ((375, 500), (224, 224)),
    ((500, 333), (224, 224)),
    ((5, 3), (24, 16)),
    ((448, 448), (224, 224)),
    ((3000, 4000), (224, 224)),
)
#: Pictures for whole pipelines: landscape, portrait, square, small, grey-free odd, and a large one.
PHOTOS = ((375, 500), (500, 333), (256, 256), (90, 131), (1001, 701), (3000, 4000))

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def main() -> None:
    """Write the files that the arguments name; without arguments, all."""
    makers = {"tensorflow": tensorflow, "torch": torch, "timm": timm, "transformers": transformers}
    GOLDEN.mkdir(exist_ok=True)
    for name in sys.argv[1:] or makers:
        arrays, packages = makers[name]()
        versions = ", ".join(f"{package} {version(package)}" for package in packages)
        path = GOLDEN / f"{name}.npz"
        np.savez_compressed(path, versions=np.array(versions), **arrays)
        print(f"{path.relative_to(ROOT)}: {len(arrays)} arrays, {path.stat().st_size:,} bytes, {versions}")


def fixed(levels: np.ndarray) -> np.ndarray:
    """Sampled grey levels as whole numbers of 1/128."""
    return np.rint((np.clip(sampled(levels), -64, 400).astype(np.float64) + 64) * 128).astype(np.uint16)


def resized(functions: dict) -> dict:
    """Every function on every picture: {"name|HxW|hxw|contrast": fixed}."""
    made = {}
    for (height, width), size in SIZES:
        for contrast in ("hard", "soft"):
            for name, function in functions.items():
                if contrast == "soft" and "cubic" not in name:
                    continue
                key = f"{name}|{height}x{width}|{size[0]}x{size[1]}|{contrast}"
                made[key] = fixed(function(photo(height, width, contrast), size))
    return made


def tensorflow() -> tuple[dict, list[str]]:
    """TensorFlow 2's `tf.image.resize` and TensorFlow 1's functions."""
    tf = importlib.import_module("tensorflow")

    def second(method: str, antialias: bool):
        return lambda image, size: tf.image.resize(
            image.astype(np.float32), size, method=method, antialias=antialias
        ).numpy()

    def first(name: str):
        function = getattr(tf.compat.v1.image, name)
        return lambda image, size: function(image[None].astype(np.float32), size, align_corners=False).numpy()[0]

    functions = {f"tf.image.resize {method}": second(method, False) for method in ("bilinear", "bicubic", "area")}
    functions["tf.image.resize nearest"] = second("nearest", False)
    functions |= {f"tf.image.resize {method} antialias": second(method, True) for method in ("bilinear", "bicubic")}
    for name in ("resize_bilinear", "resize_bicubic", "resize_nearest_neighbor"):
        functions[f"tf.compat.v1.image.{name}"] = first(name)
    return resized(functions), ["tensorflow_cpu"]


def torch() -> tuple[dict, list[str]]:
    """PyTorch's `interpolate`, torchvision on tensors, and torchvision's evaluation transform on PIL images."""
    t = importlib.import_module("torch")
    _torchvision(t)
    vision = importlib.import_module("torchvision.transforms")
    pil = importlib.import_module("PIL.Image")

    def interpolate(mode: str, **options):
        def function(image, size):
            batch = t.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
            return t.nn.functional.interpolate(batch, size, mode=mode, **options)[0].permute(1, 2, 0).numpy()

        return function

    def on_tensor(image, size):
        tensor = t.from_numpy(image).permute(2, 0, 1)
        return vision.functional.resize(tensor, list(size), antialias=True).permute(1, 2, 0).numpy()

    functions = {f"F.interpolate {mode}": interpolate(mode) for mode in ("bilinear", "bicubic")}
    functions |= {
        f"F.interpolate {mode} antialias": interpolate(mode, antialias=True) for mode in ("bilinear", "bicubic")
    }
    functions |= {f"F.interpolate {mode}": interpolate(mode) for mode in ("nearest", "nearest-exact")}
    functions["torchvision uint8 tensor bilinear antialias"] = on_tensor
    made = resized(functions)
    evaluate = vision.Compose(
        [vision.Resize(256), vision.CenterCrop(224), vision.ToTensor(), vision.Normalize(**IMAGENET)]
    )
    for height, width in PHOTOS:
        made[f"eval|{height}x{width}"] = _half(evaluate(pil.fromarray(photo(height, width))))
    return made, ["torch", "torchvision", "pillow"]


#: timm's configurations, as its config.json has them.
TIMM = {
    "center": {"interpolation": "bicubic", "crop_pct": 0.95},
    "center 288": {"input_size": [3, 288, 288], "interpolation": "bilinear", "crop_pct": 1.0},
    "squash": {"interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "squash"},
    "border": {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "border"},
    "wide": {"input_size": [3, 128, 256], "interpolation": "bicubic", "crop_pct": 0.9},
    "nearest": {"interpolation": "nearest", "crop_pct": 0.875},
    "lanczos": {"interpolation": "lanczos", "crop_pct": 0.875},
    "no interpolation": {"crop_pct": 0.875},
}


def timm() -> tuple[dict, list[str]]:
    """timm's evaluation transforms, by the configuration that lies beside a model."""
    _torchvision(importlib.import_module("torch"))
    data = importlib.import_module("timm.data")
    pil = importlib.import_module("PIL.Image")
    made = {}
    for name, changes in TIMM.items():
        config = {"input_size": [3, 224, 224], **IMAGENET, **changes}
        transform = data.create_transform(**data.resolve_data_config({}, pretrained_cfg=config), is_training=False)
        made[f"{name}|json"] = np.array(json.dumps(config))
        for height, width in PHOTOS[:5]:
            made[f"{name}|{height}x{width}"] = _half(transform(pil.fromarray(photo(height, width))))
    return made, ["timm", "torch", "torchvision", "pillow"]


#: (class, configuration): as `save_pretrained` writes them and as old files have them.
TRANSFORMERS = {
    "vit": ("ViT", {}),
    "vit old": ("ViT", {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, **HALF}),
    "deit": ("DeiT", {}),
    "deit old": (
        "DeiT",
        {
            "feature_extractor_type": "DeiTFeatureExtractor",
            "size": 256,
            "crop_size": 224,
            "do_center_crop": True,
            "resample": 3,
            **HALF,
        },
    ),
    "beit": ("Beit", {"do_center_crop": False}),
    "convnext": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
    "convnext old": (
        "ConvNext",
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.9, "resample": 3, **HALF},
    ),
    "uneven": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
    "convnext 384": ("ConvNext", {}),
    "clip": ("CLIP", {}),
    "clip old": (
        "CLIP",
        {
            "feature_extractor_type": "CLIPFeatureExtractor",
            "size": 224,
            "crop_size": 224,
            "do_center_crop": True,
            "resample": 3,
            **HALF,
        },
    ),
    "bit": ("Bit", {"size": {"shortest_edge": 448}, "crop_size": {"height": 448, "width": 448}}),
    "efficientnet": (
        "EfficientNet",
        {
            "size": {"height": 224, "width": 224},
            "resample": 0,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.47853944, 0.4732864, 0.47434163],
            "include_top": True,
        },
    ),
    "efficientnet offset": (
        "EfficientNet",
        {"size": {"height": 240, "width": 240}, "rescale_factor": 1 / 127.5, "rescale_offset": True, **HALF}
        | {"do_normalize": False, "include_top": False},
    ),
    "mobilenet v1": ("MobileNetV1", {}),
    "mobilenet v2": ("MobileNetV2", {}),
    "levit": ("Levit", {}),
    "mobilevit": ("MobileViT", {"size": {"shortest_edge": 288}}),
    "poolformer": ("PoolFormer", {}),
}


def transformers() -> tuple[dict, list[str]]:
    """Hugging Face's image processors on PIL, from the JSON that they write themselves or that old ones wrote.

    The pictures leave an even margin but for the case "uneven": transformers crops at the rounded-down half, and
    torchvision at the rounded one.
    """
    _torchvision(importlib.import_module("torch"))
    library = importlib.import_module("transformers")
    pil = importlib.import_module("PIL.Image")
    made = {}
    for name, (kind, config) in TRANSFORMERS.items():
        processor = getattr(library, f"{kind}ImageProcessorPil").from_dict(dict(config))
        old = "feature_extractor_type" in config
        written = config if old else json.loads(processor.to_json_string())
        made[f"{name}|json"] = np.array(json.dumps(written))
        for height, width in ((400, 400), (400, 600), (600, 400)):
            pixels = processor(pil.fromarray(photo(height, width, "soft")), return_tensors="np")["pixel_values"][0]
            made[f"{name}|{height}x{width}"] = _half(pixels)
    return made, ["transformers", "pillow"]


def _half(chw) -> np.ndarray:
    return sampled(np.asarray(chw, dtype=np.float32).transpose(1, 2, 0)).astype(np.float16)


def _torchvision(torch_module) -> None:
    """torchvision's wheel imports beside a PyTorch of another build once these are declared."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch_module.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch_module._gapmil_library = library  # has to live as long as torchvision
        for module in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[module]
        importlib.import_module("torchvision")


if __name__ == "__main__":
    main()
