"""Sessions that can be timed beside each other in one process.

As `runtime.session` makes them, but for one thing: a session's idle threads go on waiting busily after its run, and the
next session's run then shares the cores with them (on two cores, ResNet-50 took 78 ms so, and 40 ms alone). So they are
told to stop when the run ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import ProviderError
from onnx_gapmil.ort.cpu import thread_count
from onnx_gapmil.ort.errors import load_error
from onnx_gapmil.ort.quiet import onnxruntime_module
from onnx_gapmil.ort.session import nodes_per_provider

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onnx_gapmil.ort.providers import ProviderChoice

_CONFIG = {
    "session.force_spinning_stop": "1",
    "session.record_ep_graph_assignment_info": "1",
}
_FOLDER = "session.model_external_initializers_file_folder_path"


def timed_session(
    model: bytes | Path,
    choice: ProviderChoice,
    *,
    what: str,
    external_data_folder: Path | None = None,
    provider_options: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> Any:
    """Create an `onnxruntime.InferenceSession` with all cores that this process may use.

    Args:
        model: a path, or a serialized model.
        choice: from `choose_providers`.
        what: names the graph in messages.
        external_data_folder: where a serialized model's external data lies.
        provider_options: more options for the first provider, such as {"enable_cuda_graph": "1"}.
        profile: prefix of the file that ONNX Runtime's profiler writes; no profiling without it.

    Raises:
        ModelError: ONNX Runtime cannot load the model.
        ProviderError: the provider was asked for by name, and not one node runs on it.
    """
    ort = onnxruntime_module()
    settings = ort.SessionOptions()
    settings.log_severity_level = 4  # what goes wrong arrives as an exception
    settings.intra_op_num_threads = thread_count()
    settings.inter_op_num_threads = 1
    for key, value in _CONFIG.items():
        settings.add_session_config_entry(key, value)
    if external_data_folder is not None:
        settings.add_session_config_entry(_FOLDER, str(external_data_folder))
    if profile is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile)
    providers = [(name, dict(options)) for name, options in choice.providers]
    providers[0][1].update(provider_options or {})
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), settings, providers=providers, enable_fallback=0
        )
    except Exception as error:
        raise load_error(error, what) from error
    if choice.explicit and not nodes_per_provider(session).get(choice.providers[0][0]):
        raise ProviderError(
            f"{choice.providers[0][0]} was asked for, and no node of the model runs on it ({what}). "
            "Use --provider cpu, or leave --provider out."
        )
    return session
