import numpy as np
import pytest

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import PRESETS, InputSpec

COLOUR = InputSpec("x", (None, 3, 224, 224), "float32")
GREY = InputSpec("x", (None, 1, 28, 28), "float32")


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("vgg", [-123.68, -116.78, -103.94], [131.32, 138.22, 151.06]),
        ("openai-clip", [-1.792263, -1.752097, -1.480220], [1.930336, 2.074884, 2.145897]),
        ("cifar", [-1.989474, -1.980287, -1.706804], [2.059109, 2.126489, 2.115826]),
        ("mnist", [-0.424213] * 3, [2.821487] * 3),
    ],
)
def test_conventions_have_their_range(name, black, white):
    preprocess = PRESETS[name](COLOUR)
    for level, expected in ((0, black), (255, white)):
        array, _ = preprocess.apply(np.full((224, 224, 3), level, dtype=np.uint8))
        assert array[:, 112, 112] == pytest.approx(expected, abs=2e-5)


def test_mnist_is_grey_for_a_grey_model():
    preprocess = PRESETS["mnist"](GREY)
    assert (preprocess.color, preprocess.mean, preprocess.std) == ("GRAY", (0.1307,), (0.3081,))


def test_vgg_and_clip_keep_the_aspect_ratio():
    vgg, clip = (PRESETS[name](COLOUR).apply(np.zeros((300, 600, 3), np.uint8))[1] for name in ("vgg", "openai-clip"))
    assert (vgg.resized_size, clip.resized_size) == ((256, 512), (224, 448))


@pytest.mark.parametrize("name", ["vgg", "openai-clip", "cifar"])
def test_colour_conventions_refuse_a_grey_model(name):
    with pytest.raises(PreprocessError, match="3 colour channels"):
        PRESETS[name](GREY)
