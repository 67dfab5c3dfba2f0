"""Arguments and options that several verbs share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnx_gapmil.cli.failure import Invocation
from onnx_gapmil.cli.output import before_document, say_document, tell
from onnx_gapmil.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_gapmil.running.shards import Shard

#: Photos at a time, at the most.
_LARGEST_BATCH = 4096


class _Place(click.ParamType):  # type: ignore[type-arg]
    """A file or a folder, given as a path or a URL; a verb is handed a path of this machine in both cases."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; see `click.ParamType`."""
        from onnx_gapmil.files.urls import is_url

        return self.local(value, ctx) if is_url(value) else Path(value)

    def local(self, url: str, ctx: click.Context | None) -> Path:
        """The path that stands for a URL."""
        raise NotImplementedError


class _Read(_Place):
    """What is read: fetched at once, a folder with all that is in it."""

    def local(self, url: str, ctx: click.Context | None) -> Path:
        """The copy."""
        from onnx_gapmil.files.mirroring import local_path

        return local_path(url)


class _ReadOrWord(click.ParamType):  # type: ignore[type-arg]
    """A word or a number, or a file that is read, given as a path or a URL; a verb is handed the text of either."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; of a URL the path of its copy. See `click.ParamType`."""
        from onnx_gapmil.files.urls import is_url

        return str(READ.convert(value, param, ctx)) if is_url(value) else str(value)


class _Written(_Place):
    """What is written: made here, and put there when the verb has done its work."""

    def local(self, url: str, ctx: click.Context | None) -> Path:
        """Where it is made."""
        from onnx_gapmil.files.staging import Results

        invocation = ctx.find_object(Invocation) if ctx is not None else None
        if invocation is None:
            raise InputError(f"{url}: results go behind a URL from the command line alone.")
        results = Results(lambda said: tell(said, copies=True))
        place = results.folder(url) if self.name == "folder" else results.file(url)
        invocation.results.enter_context(results)
        before_document(results.put)
        return place


READ = _Read("path")
READ_OR_WORD = _ReadOrWord()
WRITTEN_FILE = _Written("file")
WRITTEN_FOLDER = _Written("folder")


def data_place(value: str) -> Path | str:
    """A path, or a URL as it is written: `Path` would make one slash of its two."""
    from onnx_gapmil.files.urls import given_place

    return given_place(value)


model_argument = click.argument("model", type=READ, metavar="MODEL")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of text.")
provider_option = click.option(
    "--provider",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Where to run: auto (CUDA if it works, else CPU), cuda, cpu, tensorrt, ... "
    "A provider named here that is not really used is an error.",
)
preprocess_option = click.option(
    "--preprocess",
    type=READ_OR_WORD,
    metavar="PRESET|FILE",
    help="How photos become inputs: imagenet, inception, caffe, unit, raw, or a JSON file (ours, timm's, Hugging "
    "Face's). Default: a JSON beside the model, what its metadata and its first nodes say, and for the rest a "
    "guess that is announced.",
)
no_guess_option = click.option(
    "--no-guess",
    is_flag=True,
    help="Exit with 2 where the preprocessing, or a part of it, would be a guess. What --preprocess auto finds on "
    "labelled images is none.",
)


def _batch_size(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """A number of photos, or "auto", which is None."""
    if value == "auto":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= _LARGEST_BATCH:
        raise click.BadParameter(
            f"{value!r} is neither auto nor a number from 1 to {_LARGEST_BATCH}.", context, parameter
        )
    return int(value)


names_option = click.option(
    "--names",
    type=READ,
    metavar="FILE",
    help="Class names: one a line, JSON, or ImageNet's synset words; they are of the head with that many classes. Of "
    "one logit two names, or the one that it is for. Default: a file beside the model, or what it states.",
)
thresholds_option = click.option(
    "--thresholds",
    type=READ_OR_WORD,
    metavar="P|FILE",
    help="Of a model whose classes are present each by itself (sigmoids): the probability above which one is. A "
    "number, or a file with one for each class. Default: 0.5.",
)


def head_option(does: str) -> Callable[..., Any]:
    """Which output is meant, of a model with several heads."""
    return click.option("--head", metavar="OUTPUT", help=f"The output {does}, of a model with several.")


batch_option = click.option(
    "--batch",
    callback=_batch_size,
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="Photos at a time; a model with a fixed batch keeps its own.",
)


fast_decode_option = click.option(
    "--fast-decode",
    is_flag=True,
    help="Decode large JPEGs at a half, a quarter or an eighth of their sides, where that leaves twice what the model "
    "takes: several times quicker, and numbers differ a little. The results say so.",
)


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> Shard | None:
    """A part of a run."""
    from onnx_gapmil.running.shards import shard_of

    try:
        return shard_of(value)
    except InputError as error:
        raise click.BadParameter(str(error), context, parameter) from error


shard_option = click.option(
    "--shard",
    callback=_shard,
    metavar="i/N",
    help="Do part i of N, from 0: 0/4, 1/4, 2/4, 3/4, on as many machines, each into a folder of its own; then "
    "merge makes the whole of them.",
)


def _address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Of a Ray cluster."""
    if value is None:
        return None
    from onnx_gapmil.validation.cluster.connecting import require_address

    try:
        return require_address(value)
    except InputError as error:
        raise click.BadParameter(str(error), context, parameter) from error


ray_option = click.option(
    "--ray",
    is_flag=False,
    flag_value="auto",
    callback=_address,
    metavar="ADDRESS|auto",
    help="Run on a Ray cluster, a worker for each GPU or group of cores, and put the parts together: auto is one that "
    "runs here, else one of this machine alone. Models, data and FOLDER lie where all machines see them. Needs "
    "onnx-gapmil[ray].",
)
ray_cores_option = click.option(
    "--ray-cores",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cores of each worker of --ray. Default: all of a machine, or its share of each GPU.",
)
readout_option = click.option(
    "--readout",
    type=click.Choice(["contribution", "instance"]),
    default="contribution",
    show_default=True,
    help="What a cell's value is: its contribution (mean over cells = logits, always), or the head applied to the "
    "cell as if it were the whole image.",
)


size_option = click.option(
    "--size",
    metavar="HxW|N",
    help="Height and width of the input in pixels, where they are not to be the model's own: a larger input has a "
    "finer grid. What the graph fixes is opened where its trunk allows it; what forbids it is named. Photos are "
    "resized and cropped by the same rule, to this size.",
)
stitch_option = click.option(
    "--stitch",
    type=click.Choice(["1", "2"]),
    default="1",
    show_default=True,
    help="2 makes the grid twice as fine at the size that the model was trained for: the image is run shifted by "
    "quarters of the grid's step, four times, and the grids are interleaved. The answer stays the unshifted image's.",
)
class_token_option = click.option(
    "--class-token",
    type=click.Choice(["auto", "direct", "through"]),
    default=None,
    help="Lift a head that reads a class token (ViT, DeiT, CLIP, DINOv2): direct takes what each attention brought the "
    "token from each patch, through lets it pass the MLPs behind as well, auto is the one that measured better. What "
    "has no place is spread evenly, and its share is said. A head without a class token ignores it. Default: refused.",
)


def print_json(data: dict[str, Any]) -> None:
    """Print a report on stdout; numbers that JSON has no word for become null."""
    from onnx_gapmil.files.json_text import json_text

    say_document([json_text(data, indent=2) + "\n"])


def verb_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Apply several options to a command, first one first in its help."""

    def apply(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return apply
