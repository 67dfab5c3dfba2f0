"""The command line: a group whose verbs are imported only when they are called, so that `--help` is quick."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from onnx_gapmil.cli.failure import Invocation, PipeClosedError, report_child, report_failure
from onnx_gapmil.cli.limits import add_limits, add_quiet
from onnx_gapmil.cli.output import begin_call
from onnx_gapmil.cli.streams import prepare_streams
from onnx_gapmil.cli.supervising import can_supervise, interactive, is_help, supervised
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.guarding import watched_reads


@dataclass(frozen=True)
class Verb:
    """Where a verb's command lives, and its line in the list of verbs."""

    target: str
    summary: str
    takes_model: bool = True


VERBS = {
    "inspect": Verb("onnx_gapmil.cli.inspect:command", "Say what a model is, and what its head allows."),
    "rewrite": Verb("onnx_gapmil.cli.rewrite:command", "Write the model with its prediction grid, verified."),
    "verify": Verb("onnx_gapmil.cli.verify:command", "Prove a rewritten model against its original."),
    "predict": Verb("onnx_gapmil.cli.predict:command", "Show which part of each image speaks for which class."),
    "audit": Verb("onnx_gapmil.cli.audit:command", "Measure what a model sees in labelled images; a report."),
    "compare": Verb("onnx_gapmil.cli.compare:command", "Compare two models on the same images: what changed, where."),
    "merge": Verb("onnx_gapmil.cli.merge:command", "Put the results of shards together: one run's, to the last digit."),
    "check": Verb("onnx_gapmil.cli.check:command", "Judge a model by a policy: pass, fail, or cannot judge."),
    "repool": Verb("onnx_gapmil.cli.repool:command", "Write the model with another pool than its mean, verified."),
    "view": Verb("onnx_gapmil.cli.view:command", "Look and touch: a page on this machine, for any photo."),
    "bench": Verb("onnx_gapmil.cli.bench:command", "Measure what the grid costs here, by provider and batch."),
    "doctor": Verb(
        "onnx_gapmil.cli.doctor:command", "Say which providers really work here, and why not.", takes_model=False
    ),
}


class VerbContext(click.Context):
    """A verb's context. It makes itself known, so that a failure is told in the form asked for."""

    def __init__(self, command: click.Command, parent: click.Context | None = None, **settings: Any) -> None:
        super().__init__(command, parent=parent, **settings)
        if isinstance(self.obj, Invocation):
            self.obj.verb = self


@contextlib.contextmanager
def _broken_pipe_told() -> Iterator[None]:
    """Carry a broken pipe past click, which would leave with 1: here that says that a check failed."""
    try:
        yield
    except BrokenPipeError as error:
        raise PipeClosedError from error


class LazyGroup(click.Group):
    """A group that knows its verbs' names and summaries, and imports a verb when it is called."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parse the arguments before the verb."""
        with _broken_pipe_told():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the verb."""
        with _broken_pipe_told():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the verbs in the order in which they are used."""
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that is called; one that there is not is answered with the nearest."""
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches  # for which no help text should wait

            near = get_close_matches(args[0].lower(), VERBS, n=1, cutoff=0.5)
            if near:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's command; None for a name that is no verb."""
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name].target.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.context_class = VerbContext
        add_quiet(command)
        if VERBS[cmd_name].takes_model:
            add_limits(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from onnx_gapmil.version import __version__

        click.echo(f"onnx-gapmil {__version__}")
        ctx.exit()


@click.group(
    name="onnx-gapmil",
    cls=LazyGroup,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every verb has --help, --json and --quiet. Exit codes: 0 done; 1 a check failed; 2 usage, or an input "
    "that cannot be read; 3 the model's head is not supported.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def group(ctx: click.Context, debug: bool) -> None:
    """See what an ONNX image classifier saw, and where.

    Finds the pooled linear head of the model, rewrites the graph to emit the prediction grid (class evidence
    per place, whose mean is the logits), proves it and runs it.
    """
    if isinstance(ctx.obj, Invocation):
        ctx.obj.debug = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the one place where errors become words.

    Args:
        arguments: without the program's name; `sys.argv[1:]` by default.
    """
    if arguments is None:
        return _in_own_process(sys.argv[1:])
    return _run(Invocation(tuple(arguments)))


def _in_own_process(arguments: list[str]) -> int:
    """Run the command line as a program: with streams that fit, and what may crash in a child."""
    there = prepare_streams(noise="--debug" in arguments)
    invocation = Invocation(tuple(arguments))
    if not there:
        return report_failure(InputError("stdout is closed, so that nothing can be printed."), invocation)
    verb = next((argument for argument in arguments if argument in VERBS), None)
    alone = verb is None or not VERBS[verb].takes_model or is_help(arguments) or interactive()
    if alone or not can_supervise():
        return _run(invocation)
    return supervised(lambda: _run(invocation), lambda what, why: report_child(what, why, invocation))


def _run(invocation: Invocation) -> int:
    begin_call()
    try:
        with watched_reads(), invocation.results:
            result = group.main(
                args=list(invocation.arguments),
                prog_name="onnx-gapmil",
                standalone_mode=False,
                obj=invocation,
            )
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (each kind is told apart there)
        return report_failure(error, invocation)
    return result if isinstance(result, int) else 0
