"""What the verbs say of a shard that is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_gapmil.cli.options import print_json
from onnx_gapmil.cli.output import say
from onnx_gapmil.files.wording import count

if TYPE_CHECKING:
    from onnx_gapmil.running.shards import ShardResult


def say_shard(result: ShardResult, done: str, *, as_json: bool) -> int:
    """Say that a shard is finished.

    Args:
        result: the shard.
        done: what the verb did to its images: "measured".
        as_json: as JSON on stdout.

    Returns:
        The exit code.
    """
    if as_json:
        print_json(result.to_json())
        return 0
    failed = f", {count(result.failed, 'image')} kept out" if result.failed else ""
    images = count(result.images, "image")
    say(f"Shard {result.shard}: {done} {result.done:,} of {images}{failed}; in {result.folder}/.")
    say("When all shards are: onnx-gapmil merge with the folders of all, in any order, and -o for the whole.")
    return 0
