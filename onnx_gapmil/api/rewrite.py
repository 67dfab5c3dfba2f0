"""`rewrite`: a model in, the same with its prediction grid out, proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.rewriting.sizing.record import parse_size
from onnx_gapmil.validation.certificate.certified import rewrite_certified

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_gapmil.graph.loading import ModelSource
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.lift.verdict import Readout
    from onnx_gapmil.rewriting.emission.emit import Emit
    from onnx_gapmil.rewriting.result import Rewrite


@takes_urls(files=("output", "certificate"))
def rewrite(
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
    size: tuple[int, int] | int | str | None = None,
) -> Rewrite:
    """Rewrite a model so that it also emits its prediction grid, prove it, and write it.

    Args:
        model: path of an ``.onnx`` file, a ModelProto, or a model that was read already.
        output: where to write; ``MODEL.gapmil.onnx`` beside the model if None. A ModelProto is only written if
            this is given.
        readout: ``contribution`` (mean over cells = logits, always) or ``instance`` (the head applied to each cell).
        emit: what the graph is to give beside the logits, as an `Emit` or its text; features and grid if None. Nothing
            else is computed. The proof knows the whole grid all the same.
        as_deployed: compare the vendor's outputs under ONNX Runtime's optimization too, and do what keeps them equal;
            False leaves that out.
        write: False leaves the disk alone.
        certificate: where to write what was proved, bound to the files; None writes none.
        head: the output whose head alone is lifted, of a model with several; the new outputs then have no suffix.
        class_token: lift heads that read a class token (ViT, DeiT, CLIP, DINOv2): ``direct`` takes what each attention
            brought the token from each patch, ``through`` lets it pass the MLPs behind as well, ``auto`` is the one
            that measured better. None refuses them; heads without one are lifted as they are.
        size: (height, width) of the input in pixels, or one number for both, where it is not to be the model's own: a
            larger input has a finer grid. What the graph fixes is opened where its trunk allows it, and proved to be
            the vendor's at the original size.

    Returns:
        The rewritten model with its proof; the model itself, unwritten, if it was rewritten before.

    Raises:
        ModelError: the model cannot be read or run; or it was rewritten before, with other emissions than those asked
            for.
        UnsupportedHeadError: no output has a head that can be lifted; the refusal says why.
        ProofError: the rewritten model failed its proof; nothing is written.
        InputError: the place to write to will not do, ``emit`` asks for what a head has not, or there is nothing to
            certify.
    """
    return rewrite_certified(
        model,
        output,
        readout=readout,
        emit=emit,
        as_deployed=as_deployed,
        write=write,
        certificate=certificate,
        head=head,
        class_token=class_token,
        size=parse_size(size),
    )
