"""`rewrite`, with the certificate of what was proved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.errors import InputError
from onnx_gapmil.rewriting.verbs import rewrite
from onnx_gapmil.validation.certificate.content import write_certificate

if TYPE_CHECKING:
    from onnx_gapmil.graph.loading import ModelSource
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.lift.verdict import Readout
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.result import Rewrite
    from onnx_gapmil.rewriting.sizing.record import Size


def rewrite_certified(
    model: ModelSource,
    output: str | Path | None = None,
    *,
    readout: Readout = "contribution",
    emit: Emit | str | None = None,
    as_deployed: bool = True,
    write: bool = True,
    certificate: str | Path | None = None,
    head: str | None = None,
    class_token: ClassTokenWish | None = None,
    size: Size | None = None,
) -> Rewrite:
    """As `rewrite`, and write a certificate of what was proved.

    Args:
        model: as for `rewrite`, as all but ``certificate``.
        output: where to write.
        readout: ``contribution`` or ``instance``.
        emit: what the graph is to give.
        as_deployed: compare the vendor's outputs under ONNX Runtime's optimization too.
        write: False leaves the disk alone.
        certificate: where to write it; None writes none.
        head: the output whose head alone is lifted.
        class_token: lift heads that read a class token; None refuses them.
        size: (height, width) of the input in pixels, where it is not to be the vendor's.

    Raises:
        InputError: as `rewrite`; or nothing is proved or written that could be certified.
    """
    if certificate is not None and not write:
        raise InputError("a certificate binds the rewritten file, which is not to be written.")
    if certificate is not None and not Path(certificate).parent.is_dir():
        raise InputError(f"{Path(certificate).parent} is no folder; make it first.")
    result = rewrite(
        model,
        output,
        readout=readout,
        emit=emit,
        as_deployed=as_deployed,
        write=write,
        class_token=class_token,
        head=head,
        size=size,
    )
    if certificate is not None:
        write_certificate(result, Path(certificate))
    return result
