from __future__ import annotations

from types import SimpleNamespace

import pytest

from onnx_gapmil.errors import ProviderError
from onnx_gapmil.ort import providers
from onnx_gapmil.ort.cuda import CudaDevice, CudaDriver, Missing
from onnx_gapmil.ort.providers import choose_providers, cuda_status

H200 = CudaDevice("NVIDIA H200", 140 * 2**30, "9.0")
DRIVER = CudaDriver((13, 1), (H200,))
ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class Machine:
    """A pretended machine: the wheel, the driver, the libraries, and how the probe ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driver: CudaDriver | Missing = DRIVER
        self.available = ALL
        self.missing: tuple[str, ...] = ()
        self.wheels = {"onnxruntime-gpu": "1.31.1"}
        self.failures: dict[str, str] = {}
        self.tried: list[str] = []
        fake = SimpleNamespace(get_available_providers=lambda: self.available)
        monkeypatch.setattr(providers, "onnxruntime_module", lambda: fake)
        monkeypatch.setattr(providers, "probe_driver", lambda: self.driver)
        monkeypatch.setattr(providers, "built_for_cuda", lambda: (13, 0))
        monkeypatch.setattr(providers, "missing_libraries", lambda: self.missing)
        monkeypatch.setattr(providers, "installed_wheels", lambda _: self.wheels)
        monkeypatch.setattr(providers, "provider_failure", self._try)

    def _try(self, name: str, options: object) -> str | None:
        self.tried.append(name)
        return self.failures.get(name)


@pytest.fixture
def machine(monkeypatch):
    cuda_status.cache_clear()
    yield Machine(monkeypatch)
    cuda_status.cache_clear()


def test_auto_takes_cuda_where_the_trial_ran(machine):
    choice = choose_providers()
    assert choice.used == "cuda"
    assert choice.device == "NVIDIA H200"
    assert choice.reason == "CUDA works on NVIDIA H200."
    assert choice.providers == (
        ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
        ("CPUExecutionProvider", {}),
    )
    assert not choice.explicit


def test_tf32_is_only_on_when_allowed(machine):
    assert choose_providers("cuda", allow_tf32=True).providers[0][1]["use_tf32"] == "1"


def test_cuda_graphs_are_only_on_when_asked_for_and_said(machine):
    choice = choose_providers("cuda", cuda_graph=True)
    assert choice.providers[0][1] == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
        "enable_cuda_graph": "1",
    }
    assert choice.reason == "CUDA, as asked for, as CUDA graphs."
    both = choose_providers("auto", cuda_graph=True, allow_tf32=True)
    assert both.reason == "CUDA works on NVIDIA H200, with TF32 and as CUDA graphs."


@pytest.mark.parametrize("request_", ["cpu", "auto"])
def test_cuda_graphs_without_cuda_are_an_error(machine, request_):
    machine.driver = Missing("no NVIDIA driver was found", "Install it.")
    with pytest.raises(ProviderError, match=r"CUDA graphs were asked for, and the model would run on cpu: CPU, "):
        choose_providers(request_, cuda_graph=True)


def test_tensorrt_keeps_its_engines_in_the_users_cache_and_its_precision(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (_, options), (_, behind), _ = choose_providers("tensorrt").providers
    folder = tmp_path / "onnx-gapmil" / "tensorrt"
    assert options == {
        "trt_fp16_enable": "False",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    assert behind["cudnn_conv_algo_search"] == "HEURISTIC"


def test_tensorrt_without_a_place_for_its_cache_runs_all_the_same(machine, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose_providers("tensorrt").providers[0][1] == {"trt_fp16_enable": "False"}


def test_auto_without_a_driver_takes_the_cpu_and_never_asks_for_cuda(machine):
    machine.driver = Missing("no NVIDIA driver was found", "Install it.")
    choice = choose_providers("auto")
    assert choice.used == "cpu"
    assert choice.providers == (("CPUExecutionProvider", {}),)
    assert choice.reason == "CPU, because no NVIDIA driver was found."
    assert machine.tried == []


def test_explicit_cpu_does_not_look_for_cuda(machine):
    assert choose_providers(" CPU ").used == "cpu"
    assert machine.tried == []


def no_driver(machine):
    machine.driver = Missing("no NVIDIA driver was found", "Install the driver.")


def old_driver(machine):
    machine.driver = CudaDriver((12, 4), (H200,))


def no_cudnn(machine):
    machine.missing = ("libcudnn.so.9",)


def cpu_wheel(machine):
    machine.available, machine.wheels = ["CPUExecutionProvider"], {"onnxruntime": "1.31.1"}


def both_wheels(machine):
    machine.available = ["CPUExecutionProvider"]
    machine.wheels = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}


def probe_fails(machine):
    machine.failures = {"CUDAExecutionProvider": "no kernel image is available."}


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (no_driver, "no NVIDIA driver was found. Install the driver."),
        (old_driver, "serves CUDA 12.4 at most and this ONNX Runtime is built for CUDA 13. Update"),
        (no_cudnn, "libcudnn.so.9 is missing. Run: pip install 'onnx-gapmil[cuda]'"),
        (cpu_wheel, "wheel (onnxruntime) is built for the CPU only. Run: pip uninstall -y onnxruntime;"),
        (both_wheels, "onnxruntime and onnxruntime-gpu are both installed"),
        (probe_fails, "a trial model did not run on CUDA (no kernel image is available). Run"),
    ],
)
def test_explicit_cuda_that_does_not_work_names_what_is_missing(machine, broken, said):
    broken(machine)
    with pytest.raises(ProviderError) as caught:
        choose_providers("cuda")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert choose_providers("auto").used == "cpu"


def test_the_trial_runs_once_in_a_process(machine):
    choose_providers("auto")
    choose_providers("cuda")
    assert machine.tried == ["CUDAExecutionProvider"]


def test_another_provider_by_name_is_tried_and_backed_by_cuda(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choice = choose_providers("TensorRT")
    assert choice.used == "tensorrt"
    assert [name for name, _ in choice.providers] == ALL
    assert machine.tried[0] == "TensorrtExecutionProvider"


def test_another_provider_that_fails_its_trial_is_an_error(machine):
    machine.failures = {"TensorrtExecutionProvider": "libnvinfer.so.10: cannot open shared object file"}
    with pytest.raises(ProviderError, match=r"'tensorrt' cannot be used: libnvinfer\.so\.10"):
        choose_providers("tensorrt")


def test_unknown_provider_lists_the_known_ones(machine):
    with pytest.raises(ProviderError, match=r"'qnn' is not part of .* which has: tensorrt, cuda, cpu\."):
        choose_providers("qnn")


def test_onnxruntimes_own_spelling_is_understood(machine):
    assert choose_providers("CUDAExecutionProvider").used == "cuda"
    assert choose_providers("CPUExecutionProvider").used == "cpu"


def test_json_of_a_choice(machine):
    assert choose_providers().to_json() == {
        "requested": "auto",
        "used": "cuda",
        "device": "NVIDIA H200",
        "reason": "CUDA works on NVIDIA H200.",
    }


@pytest.mark.gpu
def test_cuda_is_taken_on_a_real_device():
    cuda_status.cache_clear()
    assert choose_providers("cuda").used == "cuda"
