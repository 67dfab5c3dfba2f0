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
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2470, 0.2435, 0.2616)


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


def vgg(spec: InputSpec) -> Preprocess:
    """RGB in 0..255 minus (123.68, 116.78, 103.94); shorter side to size / 0.875, centre crop.

    TF-Slim, preprocessing/vgg_preprocessing.py (VGG, ResNet v1), and TensorFlow's official ResNet: Caffe's
    means, but in RGB.
    """
    _needs_three_channels("vgg", spec)
    return _build(spec, "RGB", 1.0, (123.68, 116.78, 103.94), (1.0,) * 3, ("shortest", 0.875, "bilinear"))


def openai_clip(spec: InputSpec) -> Preprocess:
    """RGB / 255, CLIP's mean and std; shorter side to size, centre crop, antialiased bicubic.

    openai/CLIP, clip/clip.py (`_transform`); timm's OPENAI_CLIP_MEAN and OPENAI_CLIP_STD; OpenCLIP.
    """
    _needs_three_channels("openai-clip", spec)
    return _build(spec, "RGB", 1 / 255, CLIP_MEAN, CLIP_STD, ("shortest", 1.0, "bicubic-antialias"))


def cifar(spec: InputSpec) -> Preprocess:
    """RGB / 255, CIFAR-10's mean and std; the whole photo squashed.

    The figures that most CIFAR-10 training scripts carry, such as kuangliu/pytorch-cifar's mean; its std is
    (0.2023, 0.1994, 0.2010) there (a mean of the images' own deviations), and over all pixels this one.
    """
    _needs_three_channels("cifar", spec)
    return _build(spec, "RGB", 1 / 255, CIFAR_MEAN, CIFAR_STD, ("squash", 1.0, "bilinear-antialias"))


def mnist(spec: InputSpec) -> Preprocess:
    """Grey / 255, MNIST's mean 0.1307 and std 0.3081; the whole photo squashed.

    pytorch/examples, mnist/main.py. For a model with 3 channels all three have the same numbers.
    """
    return _build(spec, "RGB", 1 / 255, (0.1307,) * 3, (0.3081,) * 3, ("squash", 1.0, "bilinear-antialias"))


PRESETS: dict[str, Callable[[InputSpec], Preprocess]] = {
    "imagenet": imagenet,
    "inception": inception,
    "caffe": caffe,
    "unit": unit,
    "raw": raw,
    "vgg": vgg,
    "openai-clip": openai_clip,
    "cifar": cifar,
    "mnist": mnist,
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
