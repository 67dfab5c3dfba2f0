import pytest

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import InputSpec


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "size"),
    [
        ((1, 3, 224, 192), "NCHW", 3, (224, 192)),
        ((None, 224, 192, 3), "NHWC", 3, (224, 192)),
        ((1, 1, 28, 28), "NCHW", 1, (28, 28)),
        ((1, 96, 96, 1), "NHWC", 1, (96, 96)),
        ((None, 3, None, None), "NCHW", 3, (None, None)),
        ((None, None, None, 3), "NHWC", 3, (None, None)),
        ((1, 3, 8, 4), "NCHW", 3, (8, 4)),  # both axes could be channels: the others are larger than 3
        ((1, 8, 4, 3), "NHWC", 3, (8, 4)),
    ],
)
def test_the_channel_axis_is_the_small_one(shape, layout, channels, size):
    spec = InputSpec("x", shape, "float32")
    assert (spec.layout(), spec.channels(), spec.size()) == (layout, channels, size)
    assert not spec.layout_is_ambiguous()


def test_where_nothing_decides_nchw_is_assumed_and_said():
    spec = InputSpec("x", (1, 3, 3, 3), "float32")
    assert spec.layout() == "NCHW"
    assert spec.layout_is_ambiguous()


@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [
        ((1, 3, 224), "float32", r"shape \(1, 3, 224\): an image input has 4 axes"),
        ((1, 16, None, 224), "float32", r"\(1, 16, \?, 224\): neither"),
        ((None, None, None, None), "float32", "neither axis"),
        ((1, 4, 224, 224), "float32", "4 channels"),
        ((1, 3, 224, 224), "int64", "is int64"),
    ],
)
def test_what_is_no_image_input_says_what_was_found(shape, dtype, says):
    with pytest.raises(PreprocessError, match=says):
        InputSpec("x", shape, dtype).channels()
