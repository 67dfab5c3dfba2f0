"""A model at another input size, whatever was made of it: a vendor's, or one that was repooled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx_gapmil.aggregate.fitted import FittedPool
from onnx_gapmil.errors import InputError, ModelError
from onnx_gapmil.graph.loading import POOL_KEY, LoadedModel, limited_for
from onnx_gapmil.lift.verdict import UnsupportedHeadError
from onnx_gapmil.rewriting.repooled.building import repool_graph
from onnx_gapmil.rewriting.repooled.claim import check_pools
from onnx_gapmil.rewriting.repooled.record import read_pools, write_pools
from onnx_gapmil.rewriting.sizing.opening import at_size as vendors_at_size
from onnx_gapmil.rewriting.sizing.record import said_size, size_of

if TYPE_CHECKING:
    from onnx_gapmil.rewriting.sizing.record import Size


def at_size(source: LoadedModel, size: Size | None) -> LoadedModel:
    """A model whose image input has a height and a width of the user's choice.

    A vendor's is opened as `onnx_gapmil.rewriting.sizing.opening.at_size` says. Of a repooled one the vendor's graph
    within it is, and its pools are put into what comes of that: they read cells, of which there may be any number, but
    for weights that were fitted to positions.

    Args:
        source: the model.
        size: (height, width) in pixels; None leaves the model as it is.

    Raises:
        ModelError: the graph cannot be brought to that size; names the node and the tensor that forbid it. Or the model
            was rewritten before.
        InputError: the model has no image input; or a pool was fitted to the positions of one size.
        ProofError: the opened graph does not give the vendor's outputs at the original size, or the record of pools is
            not true.
    """
    found = size_of(source.metadata)
    if size is None or source.is_rewritten or POOL_KEY not in source.metadata or found is not None:
        return vendors_at_size(source, size)
    pools = read_pools(source)
    if pools is None:
        return vendors_at_size(source, size)
    with limited_for(source):
        vendor = check_pools(source, pools)
        opened = vendors_at_size(vendor, size)
        if opened is vendor:
            return source
        try:
            made = repool_graph(opened, pools.wishes, class_token=pools.class_token)
        except UnsupportedHeadError as error:
            raise ModelError(
                f"--size {said_size(size)}: {source.name} was repooled, and its head cannot be lifted at that size: "
                f"{error.refusal.message}."
            ) from error
        except InputError as error:
            if not any(isinstance(wish, FittedPool) and wish.size is not None for wish in pools.wishes.values()):
                raise
            # The vendor's graph was opened: what is in the way is the user's own fit, of which there is a way back.
            raise InputError(
                f"--size {said_size(size)}: {error} Leave --size out; or take the pool out (repool --with mean), open "
                "that (rewrite --size), and fit again."
            ) from error
        write_pools(made.model, made.record if pools.measure is None else made.record.measured(*pools.measure))
    return replace(source, proto=made.model)


def sized_alike(original: LoadedModel, rewritten: LoadedModel) -> LoadedModel:
    """A model at the input size that a rewritten file says it was opened for.

    Raises:
        ModelError: it cannot be brought to that size, or the file says otherwise what was changed for it.
    """
    said = size_of(rewritten.metadata)
    if said is None or not rewritten.is_rewritten:
        return original
    opened = at_size(original, said.size)
    if size_of(opened.metadata) != said:
        raise ModelError(
            f"{rewritten.name}: what it says of its input size is not what opening {original.name} for it gives; "
            "rewrite the vendor's original again."
        )
    return opened
