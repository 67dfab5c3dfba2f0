"""`verify`: two files proved against each other, or a certificate replayed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.api.arguments import path_of
from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.errors import InputError
from onnx_gapmil.rewriting.verbs import verify as run_verify
from onnx_gapmil.validation.certificate.replay import replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from onnx_gapmil.graph.loading import ModelSource
    from onnx_gapmil.rewriting.proof.report import ProofReport


@takes_urls(read=("certificate",))
def verify(
    original: ModelSource | None = None,
    rewritten: ModelSource | None = None,
    *,
    batches: Sequence[tuple[str, np.ndarray]] = (),
    provider: str = "auto",
    certificate: str | Path | None = None,
    head: str | None = None,
) -> ProofReport:
    """Prove that one file is the rewritten form of another, as they would be deployed; or replay a certificate.

    Args:
        original: the vendor's model; with a certificate a path, or None for the file that it names beside it.
        rewritten: the model that is claimed to be its rewritten form; with a certificate as ``original``.
        batches: further inputs as (name for people, array of the input's shape and dtype); random ones are always
            run. A certificate has its own.
        provider: where to run; ``auto``, ``cuda``, ``cpu``, ...
        certificate: what `rewrite` wrote: its claims are computed anew here and held against it.
        head: the output whose head alone is proved, of a model with several.

    Returns:
        What was measured; ``passed`` tells the result.

    Raises:
        InputError: the certificate is missing, torn or none; or models and inputs are not given as they must be.
        ModelError: one of them cannot be read or run, or the second is not a rewritten model, or of another one.
        ProofError: the numbers are right, and what the second's record says of them is not.
        ProviderError: the provider was asked for by name and is not really used.
    """
    if certificate is None:
        if original is None or rewritten is None:
            raise InputError("name the original and the rewritten model, or a certificate.")
        return run_verify(original, rewritten, batches=batches, provider=provider, head=head)
    paths = [model for model in (original, rewritten) if model is None or isinstance(model, str | Path)]
    if batches or head is not None or len(paths) != 2:
        raise InputError("a certificate is replayed on files, on its own inputs and as a whole.")
    first, second = (path_of(path) for path in paths)
    return replay(Path(certificate), first, second, provider=provider)
