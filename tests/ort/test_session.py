from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import parser

from onnx_gapmil.errors import ModelError, ProviderError
from onnx_gapmil.ort import session as sessions
from onnx_gapmil.ort.providers import ProviderChoice, choose_providers
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.ort.session import make_session, nodes_per_provider

CPU = choose_providers("cpu")


def model_of(body: str, opset: int = 17, ir: int = 8) -> bytes:
    text = f"""<ir_version: {ir}, opset_import: ["" : {opset}]>
        g (float[1,3,4,4] x) => (float[1,3,4,4] y) {{ {body} }}"""
    return parser.parse_model(text).SerializeToString()


def test_session_runs_and_counts_its_nodes():
    session = make_session(model_of("a = Sin(x) y = Cos(a)"), CPU)
    image = np.full((1, 3, 4, 4), 0.5, np.float32)
    np.testing.assert_allclose(session.run(None, {"x": image})[0], np.cos(np.sin(0.5)), rtol=1e-6)
    assert nodes_per_provider(session) == {"CPUExecutionProvider": 2}


def test_optimize_off_keeps_every_node():
    body = "a = Identity(x) b = Relu(a) c = Relu(b) y = Identity(c)"
    assert nodes_per_provider(make_session(model_of(body), CPU, optimize=False)) == {"CPUExecutionProvider": 4}


def test_threads_are_as_asked():
    options = make_session(model_of("y = Relu(x)"), CPU, threads=1, spinning=False).get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_nodes_are_unknown_for_a_session_that_did_not_record_them():
    session = onnxruntime_module().InferenceSession(model_of("y = Relu(x)"), providers=["CPUExecutionProvider"])
    assert nodes_per_provider(session) == {"CPUExecutionProvider": None}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (b"garbage" * 9, "The model cannot be run: it is not an ONNX file, or it is cut off or damaged."),
        (b"", "it is not an ONNX file"),
        (model_of("y = Relu(x)", opset=99), "it uses opset 99 of ai.onnx"),
        (model_of("y = Relu(x)", ir=99), "it has IR version 99"),
        (model_of("y = Foo(x)"), "its operator Foo is not one of ONNX Runtime's"),
        (model_of("y = Relu(absent)"), "Node input 'absent' is not a graph input"),
        (model_of("a = Add(x, b) b = Add(a, x) y = Relu(b)"), "not acyclic"),
    ],
)
def test_models_that_onnxruntime_refuses_give_one_clear_sentence(model, said, capfd):
    with pytest.raises(ModelError) as caught:
        make_session(model, CPU)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".cc:" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.onnx is not a file"):
        make_session(tmp_path / "absent.onnx", CPU)


def with_external_weights(folder):
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,300] x) => (float[1,300] y) { y = Add(x, w) }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(300, dtype=np.float32), "w"))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    return folder / "m.onnx"


def test_external_data_is_found_by_path_and_by_folder(tmp_path):
    path = with_external_weights(tmp_path)
    feeds = {"x": np.ones((1, 300), np.float32)}
    by_path = make_session(path, CPU).run(None, feeds)[0]
    by_folder = make_session(path.read_bytes(), CPU, external_data_folder=tmp_path).run(None, feeds)[0]
    np.testing.assert_array_equal(by_path[0], np.arange(1, 301))
    np.testing.assert_array_equal(by_folder, by_path)


def test_external_data_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    path = with_external_weights(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../m.data"
    moved = tmp_path / "model" / "m.onnx"
    moved.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="cannot be run"):
        make_session(moved, CPU)


class FellBack:
    """A session as ONNX Runtime leaves it when a provider could not be loaded, or supports no node."""

    def __init__(self, providers: list[str]) -> None:
        self.get_providers = lambda: providers

    def get_session_options(self):
        return SimpleNamespace(get_session_config_entry=lambda key: "1")

    def get_provider_graph_assignment_info(self):
        return [SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [1, 2])]


@pytest.mark.parametrize("listed", [[], ["CUDAExecutionProvider"]])
def test_an_accelerator_that_runs_no_node_is_an_error(monkeypatch, listed):
    session = FellBack([*listed, "CPUExecutionProvider"])
    monkeypatch.setattr(sessions, "bounded_session", lambda *_, **__: session)
    providers = (("CUDAExecutionProvider", {}), ("CPUExecutionProvider", {}))
    with pytest.raises(ProviderError, match="CUDAExecutionProvider was asked for, and no node"):
        make_session(b"", ProviderChoice("cuda", "cuda", providers, "CUDA, as asked for."))
    assert make_session(b"", ProviderChoice("auto", "cuda", providers, "CUDA works.")) is session


def test_a_model_that_cannot_be_recorded_as_cuda_graphs_is_an_error_that_says_why(monkeypatch):
    """ONNX Runtime's own words, as its library has them."""

    def refuses(*_, **__):
        raise RuntimeError(
            "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture feature as requested by the "
            "user  as all compute graph nodes have not been partitioned to the CUDAExecutionProvider"
        )

    monkeypatch.setattr(sessions, "bounded_session", refuses)
    choice = ProviderChoice("cuda", "cuda", (("CUDAExecutionProvider", {"enable_cuda_graph": "1"}),), "CUDA.")
    with pytest.raises(ProviderError, match=r"m\.onnx cannot run as CUDA graphs, .*every node.*Leave --cuda-graph off"):
        make_session(b"", choice, name="m.onnx")
