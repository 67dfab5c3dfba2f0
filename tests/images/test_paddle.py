"""PaddleX' and PaddleClas' inference.yml, as their exporters write it."""

import pytest

from onnx_gapmil.data.class_names import class_names
from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import InputSpec, resolve_preprocess

SPEC = InputSpec("x", (None, 3, 224, 224), "float32")
FILE = """
Global: {model_name: PP-LCNet_x1_0}
PreProcess:
  transform_ops:
  - ResizeImage: {resize_short: 256}
  - CropImage: {size: 224}
  - NormalizeImage:
      channel_num: 3
      mean: [0.485, 0.456, 0.406]
      order: ''
      scale: 1.0/255.0
      std: [0.229, 0.224, 0.225]
  - ToCHWImage: null
PostProcess:
  Topk: {topk: 5, label_list: [tench, goldfish, 'yes']}
"""


def resolved(folder, text, spec=SPEC):
    (folder / "inference.yml").write_text(text, encoding="utf-8")
    return resolve_preprocess(spec, request=None, model_path=folder / "inference.onnx", metadata={})


def test_operators_are_read_as_paddleclas_applies_them(tmp_path):
    found = resolved(tmp_path, FILE)
    used = found.preprocess
    assert (used.resize, used.size, used.crop, used.interpolation) == ("shortest", (224, 224), 224 / 256, "bilinear")
    assert (used.color, used.scale, used.mean[0], used.std[2]) == ("RGB", 1 / 255, 0.485, 0.225)
    assert not found.assumed
    assert "inference.yml, beside the model" in found.source


def test_its_labels_are_the_names(tmp_path):
    resolved(tmp_path, FILE)
    assert class_names(tmp_path / "inference.onnx", 3).names == ("tench", "goldfish", "yes")
    assert class_names(tmp_path / "inference.onnx", 4).names is None


def test_a_size_is_width_and_height_and_an_open_input_has_it_from_there(tmp_path):
    """Of text line orientation: 160 x 80."""
    text = FILE.replace("{resize_short: 256}", "{size: [160, 80], interpolation: bicubic, backend: pil}")
    text = text.replace("  - CropImage: {size: 224}\n", "")
    used = resolved(tmp_path, text, InputSpec("x", (None, 3, None, None), "float32")).preprocess
    assert (used.size, used.resize, used.interpolation) == ((80, 160), "squash", "bicubic-antialias")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ResizeImage: {resize_short: 256}", "DetResizeForTest: {}", "DetResizeForTest"),
        ("resize_short: 256", "resize_short: many", "resize_short"),
        ("size: 224", "size: 512", "CropImage"),
        ("scale: 1.0/255.0", "scale: one", "scale"),
        ("mean: [0.485, 0.456, 0.406]", "mean: grey", "mean"),
        ("PreProcess:", "PreProcess: [", "not YAML"),
        ("Global: {model_name: PP-LCNet_x1_0}", "Global: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence_with_the_files_name(tmp_path, old, new, says):
    assert old in FILE
    with pytest.raises(PreprocessError, match=says) as caught:
        resolved(tmp_path, FILE.replace(old, new))
    assert "inference.yml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_operators_on_images_is_passed_over(tmp_path):
    assert resolved(tmp_path, "Global: {model_name: x}\n").assumed
