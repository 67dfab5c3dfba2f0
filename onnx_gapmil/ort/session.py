"""Make ONNX Runtime sessions: quiet, sized to the cores one may use, never with foreign code, checked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_gapmil.errors import GapmilError, ModelError, ProviderError
from onnx_gapmil.ort.bounded import bounded_session
from onnx_gapmil.ort.cpu import EXTERNAL_FOLDER, session_options
from onnx_gapmil.ort.errors import load_error, readable
from onnx_gapmil.ort.providers import ProviderChoice
from onnx_gapmil.ort.quiet import onnxruntime_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_GRAPH_CAPTURE = "graph capture feature"  # in each of ONNX Runtime's messages that a graph cannot be recorded
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"


def make_session(
    model: bytes | Path,
    choice: ProviderChoice,
    *,
    threads: int | None = None,
    optimize: bool = True,
    external_data_folder: Path | None = None,
    spinning: bool = True,
    name: str | None = None,
    config: Mapping[str, str] | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """Create an `onnxruntime.InferenceSession`.

    Args:
        model: a path, or a serialized model. A path is best for a model with external data.
        choice: from `choose_providers`.
        threads: threads within an operator; by default all cores that this process may use.
        optimize: let ONNX Runtime fuse and fold the graph.
        external_data_folder: where a serialized model's external data lies.
        spinning: let idle threads wait busily. Faster by itself; slower where decoding wants the same cores.
        name: what messages call a serialized model.
        config: session configuration entries, by key.
        weights: initializers that a serialized model declares as external and that are used where they lie in memory;
            they must outlive the session.

    Raises:
        ModelError: ONNX Runtime cannot load the model; the message says what it has against it.
        ProviderError: the provider was asked for by name, and not one node of this model runs on it; or CUDA graphs
            were, and not every node does.
    """
    what = name or (str(model) if isinstance(model, Path) else "The model")
    if isinstance(model, Path) and not model.is_file():
        raise ModelError(f"{model} is not a file.")
    settings = _settings(threads, optimize, spinning)
    for key, value in (config or {}).items():
        settings.add_session_config_entry(key, value)
    if external_data_folder is not None:
        settings.add_session_config_entry(EXTERNAL_FOLDER, str(external_data_folder))
    if weights:
        values = [onnxruntime_module().OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        settings.add_external_initializers(list(weights), values)
    try:
        session = bounded_session(
            str(model) if isinstance(model, Path) else model,
            settings,
            providers=[(provider, dict(options)) for provider, options in choice.providers],
            enable_fallback=0,  # it would print, and go on without the provider
        )
    except GapmilError:
        raise
    except Exception as error:
        if _GRAPH_CAPTURE in str(error):
            raise ProviderError(
                f"{what} cannot run as CUDA graphs, which need every node on CUDA and no loop or branch: "
                f"{readable(error).rstrip('.')}. Leave --cuda-graph off."
            ) from error
        raise load_error(error, what) from error
    if choice.explicit:
        _require_use(session, choice, what)
    return session


def _settings(threads: int | None, optimize: bool, spinning: bool) -> Any:
    settings = session_options(optimize=optimize, threads=threads)
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry(_RECORD_ASSIGNMENT, "1")
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return settings


def nodes_per_provider(session: Any) -> dict[str, int | None]:
    """Count the optimized graph's nodes by the provider that runs them, by ONNX Runtime's provider names.

    A count is None where the session does not tell (an older ONNX Runtime, or a session not made here).
    """
    assignment = getattr(session, "get_provider_graph_assignment_info", None)
    if assignment is not None and _recorded(session):
        counts: Counter[str] = Counter()
        for part in assignment():
            counts[part.ep_name] += len(part.get_nodes())
        return dict(counts)
    return dict.fromkeys(session.get_providers())


def _recorded(session: Any) -> bool:
    try:
        entry = session.get_session_options().get_session_config_entry(_RECORD_ASSIGNMENT)
    except RuntimeError:  # no such entry
        return False
    return bool(entry == "1")


def _require_use(session: Any, choice: ProviderChoice, what: str) -> None:
    name = choice.providers[0][0]
    nodes = nodes_per_provider(session)
    if name not in session.get_providers() or nodes.get(name, 0) == 0:
        raise ProviderError(
            f"{name} was asked for, and no node of the model runs on it ({what}). Use --provider auto or cpu."
        )
