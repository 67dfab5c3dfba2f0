"""Named preprocessing presets: each a function of the model's input, with its source.

A preset says what the numbers mean. Where its source also fixes how photos are resized, that is kept; where
the source leaves it open (`unit`, `raw`), the whole photo is squashed, so that nothing of it is cropped off.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images.geometry import ResizeRule
from onnx_gapmil.images.input_spec import InputSpec
from onnx_gapmil.images.preprocess import Color, Preprocess
from onnx_gapmil.images.resize import Interpolation

DEFAULT_SIDE = 224
"""Height and width for an input whose size is dynamic: what most ImageNet models were trained at."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet(spec: InputSpec) -> Preprocess:
    """RGB / 255, ImageNet mean and std; shorter side to size / 0.875, centre crop, antialiased bilinear.

    torchvision, references/classification/presets.py (`ClassificationPresetEval`); timm's
    IMAGENET_DEFAULT_MEAN and IMAGENET_DEFAULT_STD; the ONNX model zoo's vision models.
    """
    _needs_three_channels("imagenet", spec)
    return _build(spec, "RGB", 1 / 255, IMAGENET_MEAN, IMAGENET_STD, ("shortest", 0.875, "bilinear-antialias"))


def inception(spec: InputSpec) -> Preprocess:
    """RGB in [-1, 1]; the central 0.875 of both sides, bilinear without antialiasing.

    TF-Slim, preprocessing/inception_preprocessing.py (`preprocess_for_eval`); Keras'
    `imagenet_utils.preprocess_input(mode="tf")` has the same range.
    """
    return _build(spec, "RGB", 1 / 127.5, (1.0,) * 3, (1.0,) * 3, ("squash", 0.875, "bilinear"))


def caffe(spec: InputSpec) -> Preprocess:
    """BGR in 0..255 minus (104, 117, 123); squashed to size / 0.875 (256 for 224), centre crop.

    BVLC Caffe's reference ImageNet models (models/bvlc_googlenet/train_val.prototxt `mean_value`,
    examples/imagenet/create_imagenet.sh, which resizes to 256x256).
    """
    _needs_three_channels("caffe", spec)
    return _build(spec, "BGR", 1.0, (104.0, 117.0, 123.0), (1.0,) * 3, ("squash", 0.875, "bilinear"))


def unit(spec: InputSpec) -> Preprocess:
    """RGB in [0, 1]; the whole photo squashed.

    Keras' `Rescaling(1/255)`, torchvision's `ToTensor` without `Normalize`, Darknet.
    """
    return _build(spec, "RGB", 1 / 255, (0.0,) * 3, (1.0,) * 3, ("squash", 1.0, "bilinear"))


def raw(spec: InputSpec) -> Preprocess:
    """RGB in 0..255 as stored, in an int8 input minus 128; the whole photo squashed.

    Models that normalize inside the graph (Keras' EfficientNet) or take quantized images: TensorFlow Lite's
    quantization specification stores an image input with zero point 0 in uint8 and -128 in int8.
    """
    mean = 128.0 if spec.dtype == "int8" else 0.0
    return _build(spec, "RGB", 1.0, (mean,) * 3, (1.0,) * 3, ("squash", 1.0, "bilinear"))


PRESETS: dict[str, Callable[[InputSpec], Preprocess]] = {
    "imagenet": imagenet,
    "inception": inception,
    "caffe": caffe,
    "unit": unit,
    "raw": raw,
}


def _build(
    spec: InputSpec,
    color: Color,
    scale: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    resizing: tuple[ResizeRule, float, Interpolation],
) -> Preprocess:
    channels = spec.channels()
    height, width = spec.size()
    rule, crop, interpolation = resizing
    return Preprocess(
        layout=spec.layout(),
        color="GRAY" if channels == 1 else color,
        size=(height or DEFAULT_SIDE, width or DEFAULT_SIDE),
        resize=rule,
        crop=crop,
        interpolation=interpolation,
        scale=scale,
        mean=mean[:channels],
        std=std[:channels],
        dtype=spec.dtype,
    )


def _needs_three_channels(name: str, spec: InputSpec) -> None:
    if spec.channels() != 3:
        raise PreprocessError(
            f"Preset {name!r} is for 3 colour channels, and input {spec.name!r} has {spec.channels()}; "
            "use 'unit', 'raw' or 'inception', or give a JSON file."
        )
