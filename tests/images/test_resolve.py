import json

import pytest

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import PRESETS, InputSpec, resolve_preprocess

SPEC = InputSpec("input", (None, 3, 224, 224), "float32")
OURS = PRESETS["inception"](SPEC).to_json()
TIMM = {
    "architecture": "resnet50",
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    },
}
HUGGING_FACE = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def resolve(spec=SPEC, *, request=None, model=None, metadata=None):
    return resolve_preprocess(spec, request=request, model_path=model, metadata=metadata or {})


def lay(folder, name, data):
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "preset"),
    [
        ((1, 3, 224, 224), "float32", "imagenet"),
        ((1, 224, 224, 3), "float16", "imagenet"),
        ((1, 1, 28, 28), "float32", "unit"),
        ((1, 224, 224, 3), "uint8", "raw"),
        ((1, 96, 96, 1), "int8", "raw"),
    ],
)
def test_without_a_word_the_graph_decides_and_it_is_announced(shape, dtype, preset):
    spec = InputSpec("x", shape, dtype)
    resolved = resolve(spec)
    assert resolved.preprocess == PRESETS[preset](spec)
    assert resolved.assumed
    assert f"preset '{preset}' is assumed" in resolved.source
    assert "--preprocess" in resolved.source


def test_the_order_is_command_line_neighbour_metadata_graph(tmp_path):
    model = tmp_path / "m.onnx"
    metadata = {"gapmil.preprocess": json.dumps(PRESETS["unit"](SPEC).to_json())}
    assert "metadata" in resolve(model=model, metadata=metadata).source
    assert resolve(model=model, metadata=metadata).preprocess == PRESETS["unit"](SPEC)
    lay(tmp_path, "m.preprocess.json", OURS)
    beside = resolve(model=model, metadata=metadata)
    assert (beside.preprocess.to_json(), beside.assumed) == (OURS, False)
    assert "beside the model" in beside.source
    asked = resolve(model=model, metadata=metadata, request="caffe")
    assert (asked.preprocess, asked.assumed) == (PRESETS["caffe"](SPEC), False)


def test_the_models_own_file_goes_before_the_folders(tmp_path):
    lay(tmp_path, "preprocessor_config.json", HUGGING_FACE)
    lay(tmp_path, "config.json", TIMM)
    assert "timm" in resolve(model=tmp_path / "m.onnx").source
    lay(tmp_path, "preprocess.json", OURS)
    assert "preprocess.json" in resolve(model=tmp_path / "m.onnx").source
    lay(tmp_path, "m.preprocess.json", OURS)
    for name in ("m.onnx", "m.gapmil.onnx"):
        assert "m.preprocess.json" in resolve(model=tmp_path / name).source


def test_a_config_json_of_another_kind_is_passed_over(tmp_path):
    lay(tmp_path, "config.json", {"model_type": "resnet", "id2label": {"0": "cat"}})
    assert resolve(model=tmp_path / "m.onnx").assumed


def test_a_dynamic_size_is_assumed_and_said_unless_a_file_states_it(tmp_path):
    spec = InputSpec("x", (None, 3, None, None), "float32")
    asked = resolve(spec, request="imagenet")
    assert asked.assumed
    assert "224x224" in asked.source
    path = lay(tmp_path, "p.json", {**OURS, "size": [192, 256]})
    stated = resolve(spec, request=str(path))
    assert (stated.preprocess.size, stated.assumed) == ((192, 256), False)


def test_an_ambiguous_layout_is_said_and_a_file_decides_it(tmp_path):
    spec = InputSpec("x", (1, 3, 3, 3), "float32")
    assert "NCHW is assumed" in resolve(spec, request="unit").source
    path = lay(tmp_path, "p.json", {**OURS, "size": [3, 3], "layout": "NHWC"})
    assert resolve(spec, request=str(path)).preprocess.layout == "NHWC"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"layout": "NHWC"}, "layout"),
        ({"size": [256, 224]}, "size"),
        ({"dtype": "float16"}, "dtype"),
        ({"color": "GRAY", "mean": [0], "std": [1]}, "color"),
    ],
)
def test_what_contradicts_the_model_is_refused_with_the_key_and_the_source(tmp_path, changes, key):
    path = lay(tmp_path, "p.json", {**OURS, **changes})
    with pytest.raises(PreprocessError, match=rf"key '{key}' is .* input 'input' takes .*p\.json"):
        resolve(request=str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON: .* line 1"),
        ('{"a": 1, "a": 2}', "'a' occurs twice"),
        ('{"scale": NaN}', "NaN is not a JSON number"),
        ("[" * 100_000, "not JSON"),
        ("[]", "object was expected"),
        ("{}", "keys 'layout', 'color', .* are missing"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_name(tmp_path, content, says):
    path = lay(tmp_path, "p.json", content)
    with pytest.raises(PreprocessError, match=says) as caught:
        resolve(request=str(path))
    assert "p.json" in str(caught.value)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(PreprocessError, match=r"'imagnet' is neither a preset \(imagenet, inception"):
        resolve(request="imagnet")
    with pytest.raises(PreprocessError, match="no such file"):
        resolve(request="gone.json")


def test_a_preset_that_would_be_rounded_away_is_refused():
    with pytest.raises(PreprocessError, match="rounds 256 grey levels"):
        resolve(InputSpec("x", (1, 3, 8, 8), "uint8"), request="imagenet")


def test_an_input_that_is_no_image_is_refused_whatever_was_asked():
    with pytest.raises(PreprocessError, match="4 axes"):
        resolve(InputSpec("x", (1, 512), "float32"), request="unit")
