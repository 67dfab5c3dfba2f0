"""``onnx-gapmil check``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnx_gapmil.cli.options import (
    READ,
    READ_OR_WORD,
    WRITTEN_FILE,
    WRITTEN_FOLDER,
    batch_option,
    class_token_option,
    data_place,
    head_option,
    json_option,
    model_argument,
    names_option,
    no_guess_option,
    print_json,
    provider_option,
    thresholds_option,
    verb_options,
)
from onnx_gapmil.cli.output import say, tell
from onnx_gapmil.cli.progress import PhotoProgress
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.urls import said

if TYPE_CHECKING:
    from onnx_gapmil.lift.tokens.modes import ClassTokenWish
    from onnx_gapmil.validation.checking.result import CheckReport


@click.command(name="check")
@verb_options(
    model_argument,
    click.option(
        "--policy",
        type=READ,
        default=Path("gapmil.toml"),
        show_default=True,
        metavar="FILE",
        help="The policy, in TOML.",
    ),
    click.option("--init", is_flag=True, help="Write a policy from an audit: today's figures less their interval."),
    click.option("--audit", type=READ, metavar="OUT", help="Results of audit."),
    click.option("--compare", type=READ, metavar="OUT", help="Results of compare, whose NEW is MODEL."),
    click.option("--baseline", type=READ, metavar="SUMMARY", help="summary.json that MODEL must not fall behind."),
    click.option("--data", type=data_place, metavar="DATA", help="Labelled images: run the audit first."),
    click.option("--against", type=READ, metavar="OLD", help="With --data: compare OLD with MODEL first, too."),
    click.option(
        "-o",
        "--output",
        type=WRITTEN_FOLDER,
        default=Path("gapmil_check"),
        show_default=True,
        metavar="FOLDER",
        help="Where the results of --data and --against go.",
    ),
    click.option("--labels", type=data_place, metavar="FILE", help="Labels of the images in the folder DATA."),
    names_option,
    click.option("--class-map", type=READ, metavar="FILE", help="Which class each label means: JSON or CSV."),
    click.option("--label-offset", type=int, metavar="N", help="Class = label + N, for labels that are numbers."),
    click.option("--preprocess", type=READ_OR_WORD, metavar="PRESET|FILE|auto", help="How photos become inputs."),
    head_option("to judge"),
    thresholds_option,
    no_guess_option,
    provider_option,
    class_token_option,
    batch_option,
    click.option("--allow-unjudged", is_flag=True, help="A rule that cannot be judged only warns."),
    click.option("--junit", type=WRITTEN_FILE, metavar="FILE", help="Write JUnit XML, for Jenkins, GitLab and others."),
    click.option("--attestation", type=WRITTEN_FILE, metavar="FILE", help="Write an unsigned in-toto statement."),
    json_option,
)
def command(
    model: Path,
    policy: Path,
    init: bool,
    audit: Path | None,
    compare: Path | None,
    baseline: Path | None,
    data: Path | str | None,
    against: Path | None,
    output: Path,
    labels: Path | str | None,
    names: Path | None,
    class_map: Path | None,
    label_offset: int | None,
    preprocess: str | None,
    no_guess: bool,
    head: str | None,
    thresholds: str | None,
    provider: str,
    class_token: ClassTokenWish | None,
    batch: int | None,
    allow_unjudged: bool,
    junit: Path | None,
    attestation: Path | None,
    as_json: bool,
) -> int:
    """Judge MODEL by a policy: what the file must be, and what its figures must meet.

    Each rule passes, fails, warns or is not judged; what was left out never counts as passed. Exit code 0 if all
    passed, 1 if one failed, 2 if one could not be judged. In GitHub Actions, rules that are not met are annotated at
    their line of the policy, and the step gets a summary.
    """
    from onnx_gapmil.validation.checking.check import check, draft
    from onnx_gapmil.validation.checking.measuring import DataRequest

    if against is not None and data is None:
        raise click.UsageError("--against compares on the images of --data DATA, which is not given.")
    request = (
        DataRequest(
            model=model,
            data=data,
            output=output,
            against=against,
            labels=labels,
            names=names,
            class_map=class_map,
            label_offset=label_offset,
            preprocess=preprocess,
            head=head,
            thresholds=thresholds,
            provider=provider,
            batch=batch,
            no_guess=no_guess,
            class_token=class_token,
        )
        if data is not None
        else None
    )
    if init:
        if said(policy) != str(policy):
            raise InputError(f"{said(policy)} is a URL: a draft is written to a file of this machine, to be edited.")
        with _Progress() as progress:
            draft(model, policy, audit=audit, request=request, progress=progress.tell)
        if as_json:
            print_json({"schema_version": 1, "policy": str(policy)})
        else:
            say(f"{policy}: a policy that {model.name} meets today. Edit its limits, and commit it.")
        return 0
    with _Progress() as progress:
        report = check(
            model,
            policy,
            audit=audit,
            compare=compare,
            baseline=baseline,
            request=request,
            head=head,
            preprocess=preprocess,
            no_guess=no_guess,
            allow_unjudged=allow_unjudged,
            junit=junit,
            attestation=attestation,
            progress=progress.tell,
            class_token=class_token,
        )
    _print(report, as_json)
    return report.exit_code


def _print(report: CheckReport, as_json: bool) -> None:
    from onnx_gapmil.validation.checking.github import in_actions, workflow_commands, write_step_summary
    from onnx_gapmil.validation.checking.text import check_lines

    if in_actions():  # before the document, behind which nothing may fail
        write_step_summary(report)
    if as_json:
        print_json(report.to_json())
    else:
        say("\n".join(check_lines(report)))
    if in_actions():
        for line in workflow_commands(report):
            say(line, err=as_json)


class _Progress(ExitStack):
    """How far the audit and the comparison are that a check makes: one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._what, self._done = "", 0
        self._bar: PhotoProgress | None = None

    def tell(self, what: str, done: int, total: int) -> None:
        """So many images are done."""
        if what != self._what or self._bar is None:
            self.close()
            tell(f"{what}:")
            self._what, self._done = what, 0
            self._bar = self.enter_context(PhotoProgress(total, shown=True, what="image"))
        self._bar.advance(done - self._done)
        self._done = done
