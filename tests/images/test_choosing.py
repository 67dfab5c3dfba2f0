"""What a file states against what comes before it, and what is asked for."""

import onnx
import onnx.parser
import pytest

from onnx_gapmil.errors import PreprocessError
from onnx_gapmil.images import PRESETS, InputSpec, resolve_preprocess
from onnx_gapmil.images.resolve import resolved_of

SPEC = InputSpec("x", (None, 3, 32, 32), "float32")


def keras():
    """Rescaling(1/127.5, -1) inside the graph: it takes pixels as they are."""
    return onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, 32, 32] x) => (float[N, 3, 32, 32] y) { '
        "a = Constant<value = float {0.00784314}>() b = Constant<value = float {-1.0}>() m = Mul(x, a) s = Add(m, b) "
        "y = Softmax(s) }"
    )


def resolved(model=None, metadata=None, request=None, path=None, spec=SPEC):
    return resolve_preprocess(spec, request=request, model_path=path, metadata=metadata or {}, proto=model)


def test_metadata_that_contradict_the_graph_are_followed_and_it_is_said():
    found = resolved(keras(), {"Image.NominalPixelRange": "Normalized_0_1"})
    assert found.preprocess.scale == 1 / 255
    assert any("first nodes" in note and "contradicts" in note for note in found.notes)


def test_metadata_that_say_the_same_are_no_contradiction():
    found = resolved(keras(), {"Image.NominalPixelRange": "NominalRange_0_255"})
    assert (found.preprocess.scale, found.notes) == (1.0, ())


def test_a_normalization_that_the_graph_carries_out_is_not_done_twice():
    metadata = {"model_info mean_values": "127.5", "model_info scale_values": "127.5"}
    found = resolved(keras(), metadata)
    assert (found.preprocess.scale, found.preprocess.mean) == (1.0, (0.0,) * 3)
    assert any("do that already" in note for note in found.notes)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("reverses", [True, False])
def test_a_normalization_of_the_graph_is_recognised_on_any_range(unit, reverses):
    """Metadata that state ImageNet's numbers on 0..1, and a graph that does the same to 0..1 or to pixels."""
    factor = 1 if unit else 255
    mean, std = ([number * factor for number in part] for part in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    turn = "i = Constant<value = int64[3] {2,1,0}>() r = Gather<axis = 1>(x, i)" if reverses else "r = Identity(x)"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3, 32, 32] x) => (float[N, 3, 32, 32] y) { '
        f"{turn} a = Constant<value = float[1, 3, 1, 1] {{{', '.join(map(str, mean))}}}>() s = Sub(r, a) "
        f"b = Constant<value = float[1, 3, 1, 1] {{{', '.join(map(str, std))}}}>() d = Div(s, b) y = Softmax(d) }}"
    )
    given = slice(None, None, -1 if reverses else 1)
    metadata = {"mean": str([0.485, 0.456, 0.406][given]), "std": str([0.229, 0.224, 0.225][given])}
    found = resolved(model, metadata)
    assert (found.preprocess.scale, found.preprocess.mean) == (1 / 255 if unit else 1.0, (0.0,) * 3)
    assert found.preprocess.std == (1.0,) * 3
    assert found.preprocess.color == ("BGR" if reverses else "RGB")
    assert any("do that already" in note for note in found.notes)
    assert not any("contradicts" in note for note in found.notes)


@pytest.mark.parametrize("text", ["Never BGR.", "Image that is not RGB", "converted from BGR", "RGB, or grey"])
def test_a_description_that_only_mentions_an_order_states_none(text):
    model = keras()
    model.graph.input[0].doc_string = text
    assert "color" in resolved(model).guessed


def test_a_preset_that_is_asked_for_is_followed_and_the_contradiction_said():
    found = resolved(keras(), request="unit")
    assert found.preprocess == PRESETS["unit"](SPEC)
    assert not found.assumed
    assert any("contradicts the values of the preset 'unit'" in note for note in found.notes)
    assert resolved(keras(), request="raw").notes == ()


def test_what_a_caller_gives_is_held_against_the_file_too():
    found = resolved_of(PRESETS["imagenet"](SPEC), "As given", input_spec=SPEC, metadata={}, proto=keras())
    assert found.source.startswith("As given. ")
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"Image.NominalPixelRange": "Normalized_0_1"},
        {"model_info scale_values": "255", "model_info mean_values": "0"},
        {"mean": "1e308 1e308 1e308"},
    ],
)
def test_what_bytes_cannot_be_is_not_followed_and_it_is_said(metadata):
    found = resolved(metadata=metadata, spec=InputSpec("x", (None, 3, 32, 32), "uint8"))
    assert found.preprocess.scale == 1.0
    assert any("cannot take" in note for note in found.notes)


def test_nothing_states_it_is_said_only_where_nothing_does():
    plain = resolved(None)
    assert "nothing states the preprocessing" in plain.source
    assert plain.guessed == ("color", "values", "resize")
    assert "nothing states the preprocessing" not in resolved(keras()).source


def test_no_guess_names_what_would_be_guessed():
    with pytest.raises(PreprocessError, match=r"would be a guess \(color\), and --no-guess forbids") as caught:
        resolved(keras()).require_stated()
    assert "first nodes" in str(caught.value)
    resolved(keras(), {"Image.BitmapPixelFormat": "Rgb8"}).require_stated()
    resolved(keras(), request="raw").require_stated()


def test_denotations_decide_an_ambiguous_layout_and_a_description_the_order():
    model = keras()
    for dim, (side, name) in zip(
        model.graph.input[0].type.tensor_type.shape.dim,
        [(1, "DATA_BATCH"), (3, "DATA_FEATURE"), (3, "DATA_FEATURE"), (3, "DATA_CHANNEL")],
        strict=True,
    ):
        dim.dim_value, dim.denotation = side, name
    model.graph.input[0].doc_string = "Image(s) in BGR format. It is a [N, H, W, C]-tensor."
    found = resolved(model, spec=InputSpec("x", (1, 3, 3, 3), "float32"))
    assert (found.preprocess.layout, found.preprocess.color) == ("NHWC", "BGR")
    assert "denotation" in found.parts["layout"]
    assert "description of the input 'x'" in found.parts["color"]


def test_files_above_the_folder_onnx_are_found(tmp_path):
    """Hugging Face's repositories for the browser: onnx/model.onnx, and the configuration above it."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_normalize": true, '
        '"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2}'
    )
    found = resolved(path=tmp_path / "onnx" / "model.onnx")
    assert (found.preprocess.mean, found.assumed) == ((0.5,) * 3, False)
