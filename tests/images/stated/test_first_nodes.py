"""What a graph's own first nodes say, in the spellings of those who write them; the values are the writers' own."""

import numpy as np
import onnx
import onnx.parser
import pytest

from onnx_gapmil.images import InputSpec, resolve_preprocess
from onnx_gapmil.images.stated.first_nodes import read_first_nodes

TRUNK = "w = Constant<value = float[4, 3, 1, 1] {1,1,1, 1,1,1, 1,1,1, 1,1,1}>() f = Conv(IN, w) g = Relu(f)"
NCHW, NHWC = "float[N, 3, 32, 32]", "float[N, 32, 32, 3]"


def graph(nodes, last, shape=NCHW, opset=17, trunk=TRUNK):
    """A network whose first nodes are these; `last` is the tensor that its trunk reads."""
    domains = f'["" : {opset}, "ai.onnx.ml" : 3]'
    text = f"<ir_version: 8, opset_import: {domains}> g ({shape} x) => (g) {{ {nodes} {trunk.replace('IN', last)} }}"
    # The parser wants a type for the output; what it is does not matter here.
    return onnx.parser.parse_model(text.replace("=> (g)", "=> (float[N, 4, H, W] g)"))


def spec_of(model):
    kind = model.graph.input[0].type.tensor_type
    shape = tuple(dim.dim_value or None for dim in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return InputSpec("x", shape if len(shape) == 4 else (1, *shape), dtype)


def resolved(model, **metadata):
    return resolve_preprocess(spec_of(model), request=None, model_path=None, metadata=metadata, proto=model)


def numbers(*values):
    return f"Constant<value = float[1, {len(values)}, 1, 1] {{{', '.join(map(str, values))}}}>()"


def one(value):
    return f"Constant<value = float {{{value}}}>()"


SPLIT = " ".join(f"m{place} = {one(mean)}" for place, mean in enumerate((123.68, 116.78, 103.94)))
PIXELS, UNIT, SIGNED = (1.0, 0.0, 1.0), (1 / 255, 0.0, 1.0), (1 / 127.5, 1.0, 1.0)
MEANS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("nodes", "last", "shape", "wanted"),
    [
        # Keras' Rescaling(1/127.5, offset=-1), by tf2onnx
        (f"a = {one(1 / 127.5)} b = {one(-1.0)} m = Mul(x, a) s = Add(m, b)", "s", NCHW, PIXELS),
        (f"a = {one(255.0)} d = Div(x, a)", "d", NCHW, PIXELS),
        (f"a = {numbers(123.68, 116.78, 103.94)} s = Sub(x, a)", "s", NCHW, PIXELS),
        # what is added first, as computers5's ImageScaler would: minus 127.5, then divided
        (f"a = {one(127.5)} s = Sub(x, a) d = Div(s, a)", "d", NCHW, PIXELS),
        # TensorFlow Lite's dequantized input
        (f"a = {one(128.0)} k = {one(0.0078125)} s = Sub(x, a) m = Mul(s, k)", "m", NCHW, PIXELS),
        # torchvision's Normalize, put into the graph behind ToTensor
        (f"a = {numbers(*MEANS[0])} b = {numbers(*MEANS[1])} s = Sub(x, a) d = Div(s, b)", "d", NCHW, UNIT),
        (f"a = {one(2.0)} b = {one(1.0)} m = Mul(x, a) s = Sub(m, b)", "s", NCHW, UNIT),
        (f"a = {one(255.0)} m = Mul(x, a)", "m", NCHW, UNIT),
        # back from -1..1, as generators and some exporters of diffusion encoders begin
        (f"a = {one(1.0)} k = {one(0.5)} s = Add(x, a) m = Mul(s, k)", "m", NCHW, SIGNED),
        # a Clip that only 0..1, or pixels, come through
        (f"l = {one(0.0)} h = {one(1.0)} c = Clip(x, l, h)", "c", NCHW, UNIT),
        (f"l = {one(0.0)} h = {one(255.0)} c = Clip(x, l, h)", "c", NCHW, PIXELS),
        (
            f"z = Constant<value = uint8 {{0}}>() k = {one(1 / 255)} q = QuantizeLinear(x, k, z) "
            "d = DequantizeLinear(q, k, z)",
            "d",
            NCHW,
            UNIT,
        ),
        # NHWC, and the constants that hide behind other nodes
        (
            f"a = {one(1 / 127.5)} b = {one(1.0)} i = Identity(a) m = Mul(x, i) s = Sub(m, b) "
            "t = Transpose<perm = [0, 3, 1, 2]>(s)",
            "t",
            NHWC,
            PIXELS,
        ),
        (
            "a = Constant<value = float[3] {103.94, 116.78, 123.68}>() s = Sub(x, a) "
            "t = Transpose<perm = [0, 3, 1, 2]>(s)",
            "t",
            NHWC,
            PIXELS,
        ),
        # cast, padded, resized and mirrored on the way
        (
            f"c = Cast<to = 1>(x) a = {one(0.017)} p = Constant<value = int64[8] {{0,0,1,1,0,0,1,1}}>() "
            "q = Pad(c, p) m = Mul(q, a)",
            "m",
            NCHW,
            PIXELS,
        ),
        # a normalisation as a 1x1 depthwise convolution, as OpenVINO and Caffe's Scale layers come
        (
            "k = Constant<value = float[3, 1, 1, 1] {0.0171247, 0.0175070, 0.0174292}>() "
            "b = Constant<value = float[3] {-2.117904, -2.035714, -1.804444}>() c = Conv<group = 3>(x, k, b)",
            "c",
            NCHW,
            PIXELS,
        ),
        # MobileNet's for Caffe: blue first, all by 0.017
        (
            "k = Constant<value = float[3, 1, 1, 1] {0.017, 0.017, 0.017}>() "
            "b = Constant<value = float[3] {-1.76698, -1.98526, -2.10256}>() c = Conv<group = 3>(x, k, b)",
            "c",
            NCHW,
            PIXELS,
        ),
        # the colors taken apart, and put together the other way round
        (
            f"a, b, c = Split<axis = 1>(x) {SPLIT} d = Sub(a, m0) e = Sub(b, m1) f0 = Sub(c, m2) "
            "t = Concat<axis = 1>(f0, e, d)",
            "t",
            NCHW,
            PIXELS,
        ),
    ],
)
def test_what_is_done_in_the_graph_is_not_done_again(nodes, last, shape, wanted):
    found = resolved(graph(nodes, last, shape))
    used = found.preprocess
    assert (used.scale, used.mean[0], used.std[0]) == pytest.approx(wanted)
    assert "values" not in found.guessed
    assert "the graph's own first nodes" in found.parts["values"]


@pytest.mark.parametrize(
    ("nodes", "last"),
    [
        ("", "x"),
        ("i = Identity(x)", "i"),
        (f"a = {one(1.5)} m = Mul(x, a)", "m"),  # some trainable factor
        (f"a = {one(0.0)} s = Add(x, a)", "s"),
        # mean and deviation of images that were normalized already
        (
            "o = Constant<value = float[3] {1,1,1}>() b = Constant<value = float[3] {0,0,0}>() "
            "m = Constant<value = float[3] {0.02, -0.01, 0.03}>() v = Constant<value = float[3] {1.1, 1.0, 0.9}>() "
            "n = BatchNormalization(x, o, b, m, v)",
            "n",
        ),
        # symmetric integers say how far values reach, and not which they are
        (
            f"z = Constant<value = int8 {{0}}>() k = {one(1 / 127)} q = QuantizeLinear(x, k, z) "
            "d = DequantizeLinear(q, k, z)",
            "d",
        ),
    ],
)
def test_what_says_nothing_of_the_range_is_not_taken_for_a_statement(nodes, last):
    found = resolved(graph(nodes, last))
    assert "values" in found.guessed
    assert found.assumed


def test_the_running_mean_of_a_first_batch_normalization_is_that_of_pixels():
    """MXNet's ResNet begins with a BatchNormalization on the data; Custom Vision's models with one of the means."""
    nodes = (
        "o = Constant<value = float[3] {1,1,1}>() b = Constant<value = float[3] {0,0,0}>() "
        "m = Constant<value = float[3] {124.0, 117.0, 104.0}>() v = Constant<value = float[3] {3400, 3300, 3300}>() "
        "n = BatchNormalization(x, o, b, m, v)"
    )
    found = resolved(graph(nodes, "n"))
    assert (found.preprocess.scale, found.preprocess.mean) == (1.0, (0.0,) * 3)


def test_an_image_scaler_is_read():
    model = graph("s = ImageScaler<scale = 0.00784314, bias = [-1.0, -1.0, -1.0]>(x)", "s", opset=7)
    assert resolved(model).preprocess.scale == 1.0


def test_the_calibrated_range_of_a_quantizer_tells_imagenets_normalization():
    """ONNX's model zoo: scale 0.01866, zero point 114."""
    nodes = (
        f"z = Constant<value = uint8 {{114}}>() k = {one(0.0186584)} "
        "q = QuantizeLinear(x, k, z) d = DequantizeLinear(q, k, z)"
    )
    found = resolved(graph(nodes, "d"))
    assert (found.preprocess.mean, found.preprocess.std) == MEANS
    assert "values" not in found.guessed


def test_torchvisions_transform_input_wants_imagenets_normalization():
    """`transform_input=True` of Inception v3: Gather, Unsqueeze, Mul, Add for each channel, and a Concat."""
    parts = []
    for channel, (mean, std) in enumerate(zip(*MEANS, strict=True)):
        parts.append(
            f"i{channel} = Constant<value = int64 {{{channel}}}>() g{channel} = Gather<axis = 1>(x, i{channel}) "
            f"o{channel} = Constant<value = int64[1] {{1}}>() u{channel} = Unsqueeze(g{channel}, o{channel}) "
            f"k{channel} = {one(std / 0.5)} b{channel} = {one((mean - 0.5) / 0.5)} "
            f"m{channel} = Mul(u{channel}, k{channel}) a{channel} = Add(m{channel}, b{channel})"
        )
    found = resolved(graph(" ".join(parts) + " c = Concat<axis = 1>(a0, a1, a2)", "c"))
    assert (found.preprocess.mean, found.preprocess.std) == MEANS
    assert found.preprocess.color == "RGB"
    assert "transform_input" in found.parts["values"]
    assert "values" not in found.guessed


REVERSALS = [
    ("i = Constant<value = int64[3] {2,1,0}>() r = Gather<axis = 1>(x, i)", "r", NCHW),
    (
        "i = Constant<value = int64[3] {2,1,0}>() t = Transpose<perm = [0,3,1,2]>(x) r = Gather<axis = 1>(t, i)",
        "r",
        NHWC,
    ),
    ("a, b, c = Split<axis = 1>(x) r = Concat<axis = 1>(c, b, a)", "r", NCHW),
    (
        "s = Constant<value = int64[1] {-1}>() e = Constant<value = int64[1] {-9223372036854775807}>() "
        "d = Constant<value = int64[1] {1}>() t = Constant<value = int64[1] {-1}>() r = Slice(x, s, e, d, t)",
        "r",
        NCHW,
    ),
    (
        "k = Constant<value = float[3, 3, 1, 1] {0,0,1, 0,1,0, 1,0,0}>() r = Conv(x, k)",
        "r",
        NCHW,
    ),
]


@pytest.mark.parametrize(("nodes", "last", "shape"), REVERSALS)
def test_a_reordering_of_channels_by_itself_makes_bgr_the_guess(nodes, last, shape):
    trunk = TRUNK if shape == NCHW or "Transpose" in nodes else f"v = Transpose<perm = [0,3,1,2]>(IN) {TRUNK}"
    model = graph(nodes, last, shape, opset=13, trunk=trunk)
    found = resolved(model)
    assert found.preprocess.color == "BGR"
    assert "color" in found.guessed
    assert found.preprocess.mean == MEANS[0][::-1]


@pytest.mark.parametrize(
    ("means", "reversed_first", "wanted"),
    [
        ((123.68, 116.779, 103.939), False, "RGB"),
        ((103.939, 116.779, 123.68), False, "BGR"),
        ((103.939, 116.779, 123.68), True, "RGB"),  # Keras' preprocess_input(mode="caffe") inside the graph
        ((123.675, 116.28, 103.53), True, "BGR"),
    ],
)
def test_imagenets_means_tell_the_order_in_which_the_caller_gives_the_channels(means, reversed_first, wanted):
    nodes = (
        "i = Constant<value = int64[3] {2,1,0}>() r = Gather<axis = 1>(x, i) " if reversed_first else "r = Identity(x) "
    )
    found = resolved(graph(f"{nodes} a = {numbers(*means)} s = Sub(r, a)", "s"))
    assert (found.preprocess.color, found.guessed) == (wanted, ())


def test_a_mean_image_is_read_as_the_means_of_its_channels():
    """MATLAB's zerocenter and Caffe's mean.binaryproto subtract a number for each pixel."""
    model = graph("s = Sub(x, mean)", "s")
    mean = np.full((1, 3, 32, 32), 120.0, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(mean, "mean"))
    assert resolved(model).preprocess.scale == 1.0


def test_samples_of_sixteen_bits_are_what_an_input_divided_by_65535_takes():
    found = resolved(graph(f"a = {one(65535.0)} d = Div(x, a)", "d"))
    assert 255 * found.preprocess.scale == pytest.approx(65535)


def test_a_resize_in_the_graph_states_the_size_of_an_open_input():
    nodes = 'z = Constant<value = int64[4] {1,3,48,64}>() r = Resize<mode = "linear">(x, , , z)'
    found = resolved(graph(nodes, "r", "float[1, 3, H, W]"))
    assert found.preprocess.size == (48, 64)
    assert "size" not in found.guessed


def test_bytes_are_pixels_unless_a_quantizer_gives_them_another_meaning():
    uint8 = "uint8[N, 3, 32, 32]"
    assert "values" not in resolved(graph("c = Cast<to = 1>(x)", "c", uint8)).guessed
    tflite = f"z = Constant<value = uint8 {{128}}>() k = {one(1 / 127.5)} d = DequantizeLinear(x, k, z)"
    assert "values" not in resolved(graph(tflite, "d", uint8)).guessed
    odd = f"z = Constant<value = uint8 {{114}}>() k = {one(0.0186584)} d = DequantizeLinear(x, k, z)"
    assert "values" in resolved(graph(odd, "d", uint8)).guessed


def test_one_image_without_a_batch_is_followed_too():
    nodes = (
        "t = Transpose<perm = [2,0,1]>(x) o = Constant<value = int64[1] {0}>() u = Unsqueeze(t, o) "
        f"c = Cast<to = 1>(u) a = {one(1 / 255)} m = Mul(c, a)"
    )
    found = resolved(graph(nodes, "m", "uint8[H, W, 3]"))
    assert (found.preprocess.layout, found.preprocess.scale) == ("NHWC", 1.0)


def test_parts_that_read_the_image_differently_state_nothing_and_it_is_said():
    trunk = f"{TRUNK} h = Conv(x, w)"
    found = resolved(graph(f"a = {one(1 / 255)} m = Mul(x, a)", "m", trunk=trunk))
    assert "values" in found.guessed
    assert any("in its own way" in note for note in found.notes)


def test_the_trunk_is_not_walked_into():
    """A factor behind the first convolution is none of the input's."""
    trunk = f"{TRUNK} k = {one(1 / 255)} y = Mul(g, k)"
    assert "values" in resolved(graph("", "x", trunk=trunk)).guessed


def test_local_functions_are_looked_into():
    """PyTorch's dynamo exporter kept modules as functions."""
    text = (
        '<ir_version: 8, opset_import: ["" : 17, "f" : 1]> g (float[N, 3, 32, 32] x) => (float[N, 4, H, W] g) '
        f"{{ s = f.scale(x) {TRUNK.replace('IN', 's')} }} "
        '<domain: "f", opset_import: ["" : 17]> scale (x) => (y) '
        "{ a = Constant<value = float {255.0}>() y = Div(x, a) }"
    )
    model = onnx.parser.parse_model(text)
    assert resolved(model).preprocess.scale == 1.0


def test_what_is_read_is_what_the_runtime_computes():
    """The walk's factors against ONNX Runtime's own numbers, through every operator at once."""
    import onnxruntime

    nodes = (
        "t = Transpose<perm = [0,3,1,2]>(x) i = Constant<value = int64[3] {2,0,1}>() r = Gather<axis = 1>(t, i) "
        f"a = {numbers(3.0, 5.0, 7.0)} s = Sub(r, a) b = {numbers(2.0, 4.0, 8.0)} d = Div(s, b) n = Neg(d) "
        "g = Constant<value = float[3] {1,2,3}>() h = Constant<value = float[3] {0.5,0.25,0.0}>() "
        "m = Constant<value = float[3] {1,1,2}>() v = Constant<value = float[3] {4,1,9}>() "
        "y = BatchNormalization(n, g, h, m, v)"
    )
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[1, 4, 4, 3] x) => (float[1, 3, 4, 4] y) {{ {nodes} }}'
    model = onnx.parser.parse_model(text)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    (expected,) = session.run(None, {"x": pixels})
    full = onnx.parser.parse_model(text.replace("y = Batch", "z = Batch"))
    full.graph.node.extend([onnx.helper.make_node("Softmax", ["z"], ["y"])])
    found = read_first_nodes(full, InputSpec("x", (1, 4, 4, 3), "float32"))
    scale, shift = (np.array(part)[:, None, None] for part in found.values)
    ours = pixels[0].transpose(2, 0, 1)[[2, 0, 1]] * scale + shift
    np.testing.assert_allclose(ours, expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["Gather", "Slice", "Split", "Concat", "Transpose", "Resize", "Conv", "Clip", "Reshape"])
def test_a_node_without_what_its_operator_needs_says_nothing(op):
    model = graph("", "x")
    model.graph.node.insert(0, onnx.helper.make_node(op, ["x"], ["odd"]))
    model.graph.node[2].input[0] = "odd"
    assert "values" in resolved(model).guessed


def test_a_size_that_a_concat_makes_of_the_batch_and_two_numbers_is_read():
    """`F.interpolate(x, size=(48, 64))` with an open batch, as PyTorch's legacy exporter spells it."""
    nodes = (
        "h = Shape<end = 2>(x) k = Constant<value = int64[2] {48, 64}>() z = Concat<axis = 0>(h, k) "
        'r = Resize<mode = "linear">(x, , , z)'
    )
    assert resolved(graph(nodes, "r", "float[N, 3, H, W]")).preprocess.size == (48, 64)


GATE = "h = Conv(SIDE, w) o = Sigmoid(h) y = Mul(g, o)"


@pytest.mark.parametrize("side_first", [True, False])
@pytest.mark.parametrize(
    ("side", "part", "shape"),
    [
        ('z = Constant<value = int64[4] {1,3,48,64}>() t = Resize<mode = "linear">(x, , , z)', "size", "1, 3, H, W"),
        (f"l = {one(0.0)} u = {one(1.0)} t = Clip(x, l, u)", "values", "N, 3, 32, 32"),
    ],
)
def test_a_side_branch_states_nothing_whatever_the_order_of_the_nodes(side, part, shape, side_first):
    weight, main = TRUNK.split(" f = ")[0], "f = Conv(x, w) g = Relu(f)"
    gate = f"{side} {GATE.replace('SIDE', 't')}"
    before, after = gate.split(" y = ")[0], "y = Mul(g, o)"
    trunk = f"{weight} {before} {main} {after}" if side_first else f"{weight} {main} {gate}"
    found = resolved(graph("", "x", f"float[{shape}]", trunk=trunk))
    assert part in found.guessed


def test_what_all_ways_from_the_image_clip_to_is_stated():
    limits = f"l = {one(0.0)} u = {one(1.0)}"
    trunk = f"{TRUNK} t = Clip(x, l, u) {GATE.replace('SIDE', 't')}"
    assert "values" not in resolved(graph(f"{limits} c = Clip(x, l, u)", "c", trunk=trunk)).guessed


@pytest.mark.parametrize(
    "nodes",
    [
        # a depthwise convolution that was learned, with factors of either sign, and of all sizes
        "k = Constant<value = float[3, 1, 1, 1] {0.05, -1.2, 0.8}>() b = Constant<value = float[3] {0.3, 0.2, -0.7}>() "
        "c = Conv<group = 3>(x, k, b)",
        "k = Constant<value = float[3, 1, 1, 1] {0.05, 1.2, 0.8}>() b = Constant<value = float[3] {-9, -9, -9}>() "
        "c = Conv<group = 3>(x, k, b)",
        # one that looks like a normalization, and has nobody's numbers
        "k = Constant<value = float[3, 1, 1, 1] {0.017, 0.0185, 0.0164}>() "
        "b = Constant<value = float[3] {-2.4, -2.1, -1.6}>() c = Conv<group = 3>(x, k, b)",
        "k = Constant<value = float[3, 1, 1, 1] {2.1, 2.6, 3.0}>() b = Constant<value = float[3] {-0.5, -1.3, -1.9}>() "
        "c = Conv<group = 3>(x, k, b)",
        f"a = {numbers(2.5, 2.4, 2.6)} c = Sub(x, a)",
        f"a = {numbers(-120, 116, 104)} c = Sub(x, a)",
        f"a = {numbers(1.2, 1.5, 1.1)} m = Mul(x, a) b = {numbers(0.3, 0.4, 0.2)} c = Sub(m, b)",
    ],
)
def test_learned_layers_are_no_normalization(nodes):
    assert "values" in resolved(graph(nodes, "c")).guessed


def test_a_number_for_each_pixel_that_was_learned_is_no_mean():
    model = graph("s = Add(x, places)", "s")
    places = np.random.default_rng(0).normal(-120, 3, (1, 3, 32, 32)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(places, "places"))
    assert "values" in resolved(model).guessed


@pytest.mark.parametrize(("color", "wanted"), [("Rgb8", MEANS), ("Bgr8", tuple(part[::-1] for part in MEANS))])
def test_a_range_that_is_imagenets_is_given_in_the_order_of_the_colors(color, wanted):
    nodes = (
        f"z = Constant<value = uint8 {{114}}>() k = {one(0.0186584)} "
        "q = QuantizeLinear(x, k, z) d = DequantizeLinear(q, k, z)"
    )
    found = resolved(graph(nodes, "d"), **{"Image.BitmapPixelFormat": color})
    assert (found.preprocess.mean, found.preprocess.std) == wanted
    assert f"[{wanted[0][0]}, " in found.source


def test_a_transform_input_behind_a_reversal_wants_the_numbers_reversed():
    scale, shift = (np.array(MEANS[1]) / 0.5).tolist(), ((np.array(MEANS[0]) - 0.5) / 0.5).tolist()
    nodes = (
        "i = Constant<value = int64[3] {2,1,0}>() r = Gather<axis = 1>(x, i) "
        f"a = {numbers(*scale)} m = Mul(r, a) b = {numbers(*shift)} s = Add(m, b)"
    )
    found = resolved(graph(nodes, "s"))
    assert (found.preprocess.color, found.preprocess.mean) == ("BGR", MEANS[0][::-1])
    assert found.preprocess.std == MEANS[1][::-1]


def test_bytes_that_are_dequantized_channel_by_channel_are_guessed():
    nodes = (
        "z = Constant<value = uint8[3] {124, 116, 104}>() k = Constant<value = float[3] {0.0171, 0.0175, 0.0174}>() "
        "d = DequantizeLinear<axis = 1>(x, k, z)"
    )
    found = resolved(graph(nodes, "d", "uint8[N, 3, 32, 32]"))
    assert "values" in found.guessed
    assert any("not followed" in note for note in found.notes)
    assert "first nodes ()" not in found.source


@pytest.mark.parametrize(
    ("scale", "zero", "guessed"), [(1 / 255, 0, False), (1 / 127.5, 128, False), (0.0186, 114, True)]
)
def test_bytes_that_a_quantized_convolution_reads_are_what_its_numbers_make_of_them(scale, zero, guessed):
    trunk = (
        f"k = {one(scale)} z = Constant<value = uint8 {{{zero}}}>() r = {one(0.1)} n = Constant<value = int8 {{0}}>() "
        "w = Constant<value = int8[4, 3, 1, 1] {1,1,1,1,1,1,1,1,1,1,1,1}>() f = QLinearConv(IN, k, z, w, r, n, r, z) "
        "g = DequantizeLinear(f, r, z)"
    )
    assert ("values" in resolved(graph("", "x", "uint8[N, 3, 32, 32]", trunk=trunk)).guessed) is guessed
