from __future__ import annotations

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import onnx
import pytest
from scipy import special

from onnx_gapmil.errors import InputError, ModelError, ProviderError
from onnx_gapmil.graph.loading import load_model
from onnx_gapmil.ort.cuda import CudaProblem
from onnx_gapmil.ort.providers import CudaStatus, choose_providers
from onnx_gapmil.ort.values import dtype_name, to_numpy, to_ort_value
from onnx_gapmil.rewriting.record import read_heads
from onnx_gapmil.rewriting.result import Rewrite
from onnx_gapmil.rewriting.rewriter import rewrite_model
from onnx_gapmil.running import grid_session
from onnx_gapmil.running.grid_session import GridSession
from onnx_gapmil.running.prediction_grid import PredictionGrid


def session_of(model, **options):
    return GridSession(model, provider="cpu", **options)


def test_grid_and_logits_are_the_heads(toy):
    session = session_of(toy.model())
    batch = toy.images(3)
    (result,) = session.run(batch)
    np.testing.assert_allclose(result.grid, toy.grid(batch), atol=1e-5)
    np.testing.assert_allclose(result.logits, toy.grid(batch).mean(axis=(2, 3)), atol=1e-5)
    assert result.output == "scores"
    assert result.features is None
    assert result.logits.dtype == result.grid.dtype == np.float32
    assert result.mean_residual() < 2e-6


def test_features_come_when_asked_for(toy):
    batch = toy.images(2)
    (result,) = session_of(toy.model()).run(batch, features=True)
    expected = batch.reshape(2, 3, 2, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(result.features, expected, atol=1e-6)


def test_features_that_were_not_emitted_are_none(toy):
    model = toy.model(heads=[toy.head | {"features": None}])
    assert session_of(model).run(toy.images(1), features=True)[0].features is None


def test_only_needed_outputs_are_bound(toy, monkeypatch):
    session = session_of(toy.model())
    asked: list[str] = []
    real = session._session

    def binding():
        inner = real.io_binding()
        bind = inner.bind_output
        monkeypatch.setattr(inner, "bind_output", lambda name, device: (asked.append(name), bind(name, device)))
        return inner

    session._runner._session = SimpleNamespace(io_binding=binding, run_with_iobinding=real.run_with_iobinding)
    session.run(toy.images(1))
    assert asked == ["gapmil_logits", "gapmil_grid"]


def test_what_the_session_says_of_itself(toy):
    session = session_of(toy.model())
    assert (session.input.name, session.input.shape, session.input.dtype) == (
        "image",
        (None, 3, 4, 4),
        "float32",
    )
    assert session.fixed_batch is None
    assert [head.grid for head in session.heads] == ["gapmil_grid"]
    assert session.metadata["gapmil.version"] == "0.1.0"
    report = session.provider
    assert (report["requested"], report["used"], report["reason"]) == ("cpu", "cpu", "CPU, as asked for.")
    assert report["nodes"]["CPUExecutionProvider"] > 0


@pytest.mark.parametrize(("fixed", "count"), [(1, 3), (2, 5), (4, 1), (2, 2)])
def test_a_fixed_batch_is_run_in_padded_slices(toy, fixed, count):
    session = session_of(toy.model(batch=str(fixed)))
    batch = toy.images(count)
    (result,) = session.run(batch, features=True)
    assert session.fixed_batch == fixed
    np.testing.assert_allclose(result.grid, toy.grid(batch), atol=1e-5)
    assert len(result.logits) == len(result.features) == count


def test_a_batch_that_only_the_outputs_fix_is_fixed_too(toy):
    model = toy.model()
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    session = session_of(model)
    batch = toy.images(2)
    assert session.fixed_batch == 1
    np.testing.assert_allclose(session.run(batch)[0].grid, toy.grid(batch), atol=1e-5)


def reshaped_to_one_image(model, *, computed: bool, target=(1, -1, 2, 2)):
    """The grid goes through a Reshape to one image, whose target is a constant, or computed at run time."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(target), "one_image"))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.output[0] = "grid"
    if computed:
        model.graph.node.append(onnx.helper.make_node("Shape", ["grid"], ["shape"]))
        model.graph.node.append(onnx.helper.make_node("Sub", ["shape", "shape"], ["zeros"]))
        model.graph.node.append(onnx.helper.make_node("Add", ["zeros", "one_image"], ["computed"]))
    source = "computed" if computed else "one_image"
    model.graph.node.append(onnx.helper.make_node("Reshape", ["grid", source], ["gapmil_grid"]))
    model.graph.output[3].type.tensor_type.ClearField("shape")
    return model


def made_in_memory(model):
    """A rewrite that was just made, whose record is nobody's claim."""
    loaded = load_model(model)
    heads = read_heads(loaded.metadata, [value.name for value in model.graph.output], loaded.name)
    return Rewrite(loaded.proto, loaded, heads, {})


def test_a_batch_fixed_by_a_constant_reshape_is_run_in_slices(toy):
    session = session_of(made_in_memory(reshaped_to_one_image(toy.model(), computed=False)))
    batch = toy.images(3)
    assert session.fixed_batch == 1
    np.testing.assert_allclose(session.run(batch)[0].grid, toy.grid(batch), atol=1e-5)


def test_a_batch_fixed_at_run_time_is_an_error_and_no_wrong_grid(toy):
    session = session_of(made_in_memory(reshaped_to_one_image(toy.model(), computed=True)))
    assert session.run(toy.images(1))[0].grid.shape == (1, 4, 2, 2)
    with pytest.raises(ModelError, match=r"'gapmil_grid' of shape \(1, 8, 2, 2\): the graph fixes its batch size"):
        session.run(toy.images(2))


def test_a_run_that_fails_is_one_sentence_and_no_noise(toy, capfd):
    session = session_of(made_in_memory(reshaped_to_one_image(toy.model(), computed=True, target=(1, -1, 3, 2))))
    with pytest.raises(ModelError, match=r"a run on a batch of shape \(1, 3, 4, 4\) failed: .*Reshape") as caught:
        session.run(toy.images(1))
    assert ".h:" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_half_precision_model_stays_in_its_type(toy):
    batch = toy.images(2, dtype=np.float16)
    (result,) = session_of(toy.model(element="float16")).run(batch)
    assert result.grid.dtype == result.logits.dtype == np.float16
    np.testing.assert_allclose(result.grid, toy.grid(batch), atol=0.05)


EVERYTHING = "features,grid,argmax,certainty,peaks,topk:2,classes:3,1,scores:max,lse=10"


def test_emissions_are_what_numpy_makes_of_the_grid(toy):
    batch = toy.images(3)
    (found,) = session_of(toy.model(heads=None), emit=EVERYTHING).run(batch)
    grid, logits = toy.grid(batch), toy.grid(batch).mean((2, 3))
    best = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    expected = {
        "grid": grid,
        "argmax": grid.argmax(axis=1),
        "certainty": special.softmax(grid, axis=1).max(axis=1),
        "peaks": grid.reshape(3, 4, 4).argmax(axis=2),
        "topk_classes": best,
        "topk_grid": np.take_along_axis(grid, best[:, :, None, None], axis=1),
        "classes_grid": grid[:, [3, 1]],
    }
    for name, array in expected.items():
        np.testing.assert_allclose(getattr(found, name), array, rtol=1e-5, atol=1e-5, err_msg=name)
    assert found.features.shape == (3, 3, 2, 2)
    assert list(found.scores) == ["max", "lse=10"]
    np.testing.assert_allclose(found.scores["max"], grid.max((2, 3)), rtol=1e-5)
    lse = special.logsumexp(10 * grid, axis=(2, 3)) / 10 - np.log(4) / 10
    np.testing.assert_allclose(found.scores["lse=10"], lse, rtol=1e-5)


def test_what_is_not_emitted_is_none(toy):
    (found,) = session_of(toy.model(heads=None), emit="topk:1").run(toy.images(2))
    assert found.topk_grid.shape == (2, 1, 2, 2)
    for name in ("grid", "features", "argmax", "certainty", "peaks", "classes_grid"):
        assert getattr(found, name) is None
    assert found.scores == {}
    with pytest.raises(InputError, match="the whole grid of 'scores' was not asked for"):
        found.mean_residual()


def test_only_what_is_asked_for_is_fetched(toy, monkeypatch):
    session = session_of(toy.model(heads=None), emit=EVERYTHING)
    seen = []
    real = session._run_slice
    monkeypatch.setattr(session, "_run_slice", lambda *args: seen.append(args[-1]) or real(*args))
    (found,) = session.run(toy.images(2), outputs={"argmax", "scores"})
    assert [name.removesuffix("_2") for name in seen[0]] == [
        "gapmil_logits",
        "gapmil_argmax",
        "gapmil_scores_max",
        "gapmil_scores_lse=10",
    ]
    assert found.grid is None
    assert found.argmax.shape == (2, 2, 2)
    assert set(found.scores) == {"max", "lse=10"}


def test_an_output_that_the_graph_does_not_give_is_named(toy):
    session = session_of(toy.model())
    with pytest.raises(
        InputError, match=r"gives features, grid, logits of 'scores', and argmax, topk_grid was asked for"
    ):
        session.run(toy.images(1), outputs=["topk_grid", "argmax", "grid"])


def test_a_rewritten_model_without_the_emission_names_the_way_out(toy):
    with pytest.raises(
        ModelError, match=r"to give features,grid, and topk:5 was asked for: rewrite the original with --emit"
    ):
        session_of(toy.model(), emit="grid,topk:5")
    assert session_of(toy.model(), emit="grid").run(toy.images(1))[0].features is None
    assert session_of(toy.model(), emit="features").run(toy.images(1))[0].features is not None


def test_emissions_of_a_fixed_batch_are_joined(toy):
    batch = toy.images(5)
    many = session_of(toy.model(heads=None), emit=EVERYTHING).run(batch)[0]
    slices = session_of(toy.model("2", heads=None), emit=EVERYTHING)
    assert slices.fixed_batch == 2
    few = slices.run(batch)[0]
    for name in ("grid", "argmax", "certainty", "peaks", "topk_classes", "topk_grid", "classes_grid"):
        np.testing.assert_allclose(getattr(few, name), getattr(many, name), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(few.scores["max"], many.scores["max"], rtol=1e-6)


def test_the_first_images_of_a_batch_have_all_arrays(toy):
    (whole,) = session_of(toy.model(heads=None), emit=EVERYTHING).run(toy.images(3))
    part = whole.first(2)
    for name in ("logits", "grid", "features", "argmax", "certainty", "peaks", "topk_classes", "classes_grid"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:2])
    assert {key: len(array) for key, array in part.scores.items()} == {"max": 2, "lse=10": 2}


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 3, 4), "float32"), ((2, 3, 5, 4), "float32"), ((2, 1, 4, 4), "float32"), ((2, 3, 4, 4), "float64")],
)
def test_a_batch_that_does_not_fit_is_told_what_fits(toy, shape, dtype):
    session = session_of(toy.model())
    with pytest.raises(InputError, match=r"'image' of .*, which takes \(any, 3, 4, 4\) of type float32"):
        session.run(np.zeros(shape, dtype))


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_of_either_byte_order_are_the_same_numbers(toy, order):
    batch = toy.images(2)
    (found,) = session_of(toy.model()).run(batch.astype(batch.dtype.newbyteorder(order)))
    np.testing.assert_allclose(found.grid, toy.grid(batch), atol=1e-5)


def test_an_empty_batch_is_an_error(toy):
    with pytest.raises(InputError, match="has no image"):
        session_of(toy.model()).run(toy.images(0))


def test_several_heads_give_a_grid_each(toy):
    model = toy.model(heads=[toy.head, toy.head | {"output": "twin"}])
    first, second = session_of(made_in_memory(model)).run(toy.images(2))
    assert (first.output, second.output) == ("scores", "twin")
    np.testing.assert_array_equal(first.grid, second.grid)


def test_path_proto_and_rewrite_result_are_the_same_model(toy, tmp_path):
    model, batch = toy.model(), toy.images(2)
    path = tmp_path / "m.gapmil.onnx"
    path.write_bytes(model.SerializeToString())
    expected = session_of(model).run(batch)[0].grid
    loaded = load_model(path)
    for source in (path, str(path), loaded, rewrite_model(loaded), rewrite_model(toy.model(heads=None))):
        np.testing.assert_array_equal(session_of(source).run(batch)[0].grid, expected)


def test_a_model_that_was_not_rewritten_is_rewritten_in_memory(toy, tmp_path, monkeypatch):
    path = tmp_path / "vendor.onnx"
    path.write_bytes(toy.model(heads=None).SerializeToString())
    seen = []

    def rewrite(loaded, emit):
        assert emit is None
        seen.append(loaded.path)
        return Rewrite(toy.model(), loaded, made_in_memory(toy.model()).heads, {})

    monkeypatch.setattr(grid_session, "_rewritten", rewrite)
    batch = toy.images(1)
    np.testing.assert_allclose(session_of(path).run(batch)[0].grid, toy.grid(batch), atol=1e-5)
    assert seen == [path]
    assert list(tmp_path.iterdir()) == [path]


def test_external_data_of_a_path_is_found(toy, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(toy.model(), path, save_as_external_data=True, size_threshold=0, location="m.data")
    batch = toy.images(2)
    np.testing.assert_allclose(session_of(path).run(batch)[0].grid, toy.grid(batch), atol=1e-5)
    proto = onnx.load(path, load_external_data=False)
    with pytest.raises(ModelError, match="give its path instead of a ModelProto"):
        session_of(proto)


def test_explicit_cuda_without_cuda_is_an_error(toy, monkeypatch):
    status = CudaStatus(problem=CudaProblem("no NVIDIA driver was found", "Install it."))
    monkeypatch.setattr("onnx_gapmil.ort.providers.cuda_status", lambda: status)
    with pytest.raises(ProviderError, match="no NVIDIA driver was found"):
        GridSession(toy.model(), provider="cuda")
    assert GridSession(toy.model()).provider["reason"] == "CPU, because no NVIDIA driver was found."


def test_iter_batches_pads_the_last_and_cuts_it_off(toy, monkeypatch):
    session = session_of(toy.model())
    batches = [toy.images(3, seed=0), toy.images(3, seed=1), toy.images(2, seed=2)]
    sizes = []
    real = session.run
    monkeypatch.setattr(session, "run", lambda batch, **options: (sizes.append(len(batch)), real(batch, **options))[1])
    results = list(session.iter_batches(batches, features=True))
    assert sizes == [3, 3, 3]
    for batch, (result,) in zip(batches, results, strict=True):
        np.testing.assert_allclose(result.grid, toy.grid(batch), atol=1e-5)
        assert len(result.features) == len(result.logits) == len(batch)


def test_iter_batches_passes_on_what_the_source_raises(toy):
    def source():
        yield toy.images(1)
        raise InputError("image 2 is damaged")

    results = session_of(toy.model()).iter_batches(source())
    assert len(next(results)) == 1
    with pytest.raises(InputError, match="image 2 is damaged"):
        next(results)


def test_iter_batches_can_be_left_early(toy):
    fetched = []

    def source():
        for index in range(100):
            fetched.append(index)
            yield toy.images(1, seed=index)

    results = session_of(toy.model()).iter_batches(source())
    next(results)
    results.close()
    assert len(fetched) <= 3


@pytest.mark.parametrize("cells", [(4, 3, 5), (2, 4, 3, 5), (1, 7)])
def test_mean_residual_is_over_all_axes_of_the_cells(cells: tuple[int, ...]):
    """Of a volume, a clip of volumes, a signal."""
    grid = np.random.default_rng(0).standard_normal((2, 6, *cells)).astype(np.float32)
    logits = grid.astype(np.float64).reshape(2, 6, -1).mean(axis=-1)
    assert PredictionGrid("y", logits, grid).mean_residual() == pytest.approx(0, abs=1e-12)
    off = PredictionGrid("y", logits + 1, grid).mean_residual()
    assert off == pytest.approx(1 / np.abs(logits + 1).max())


def test_the_first_images_of_a_batch_keep_their_volumes():
    grid, best = np.zeros((3, 6, 4, 3, 5)), np.arange(180).reshape(3, 4, 3, 5)
    first = PredictionGrid("y", np.zeros((3, 6)), grid, argmax=best).first(2)
    assert first.grid is not None
    assert first.argmax is not None
    assert first.grid.shape == (2, 6, 4, 3, 5)
    np.testing.assert_array_equal(first.argmax, best[:2])


def test_mean_residual_is_relative_to_the_largest_logit():
    grid = np.zeros((1, 2, 1, 2))
    grid[0, 0] = [[7, 9]]
    assert PredictionGrid("y", np.array([[10.0, 0.0]]), grid).mean_residual() == pytest.approx(0.2)
    assert PredictionGrid("y", np.zeros((1, 2)), grid).mean_residual() == 8.0


def test_bfloat16_crosses_both_ways():
    array = np.array([[1.5, -2.0], [0.25, 3e38]], ml_dtypes.bfloat16)
    value = to_ort_value(array)
    assert value.data_type() == "tensor(bfloat16)"
    back = to_numpy(value)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back.astype(np.float32), array.astype(np.float32))


@pytest.mark.parametrize(
    ("theirs", "numpys"),
    [("tensor(float)", "float32"), ("tensor(double)", "float64"), ("tensor(bfloat16)", "bfloat16")],
)
def test_type_names(theirs, numpys):
    assert dtype_name(theirs) == numpys


@pytest.mark.gpu
def test_cuda_gives_the_same_grid(toy):
    session = GridSession(toy.model(), provider="cuda")
    batch = toy.images(5)
    (result,) = session.run(batch, features=True)
    np.testing.assert_allclose(result.grid, toy.grid(batch), rtol=1e-5, atol=1e-4)
    assert session.provider["nodes"]["CUDAExecutionProvider"] > 0
    assert choose_providers("cuda").device == session.provider["device"]
