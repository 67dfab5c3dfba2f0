"""``--batch``: a number, or auto."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from onnx_gapmil.cli.options import batch_option, verb_options


@click.command()
@batch_option
def command(batch: int | None) -> None:
    click.echo(repr(batch))


@pytest.mark.parametrize(("given", "batch"), [("auto", "None"), ("1", "1"), ("4096", "4096"), ("007", "7")])
def test_a_batch_is_a_number_or_none_for_auto(given: str, batch: str) -> None:
    assert CliRunner().invoke(command, ["--batch", given]).output.strip() == batch


def test_without_the_option_it_is_auto() -> None:
    assert CliRunner().invoke(command, []).output.strip() == "None"


@pytest.mark.parametrize("given", ["0", "-1", "4097", "2.5", "many", ""])
def test_anything_else_is_told_what_there_is(given: str) -> None:
    found = CliRunner().invoke(command, ["--batch", given])
    assert found.exit_code == 2
    assert f"{given!r} is neither auto nor a number from 1 to 4096." in found.output


def test_options_stand_in_the_help_as_they_were_listed() -> None:
    @click.command()
    @verb_options(click.option("--zebra"), click.option("--ant"), click.option("--moth"))
    def verb(**_: object) -> None:
        """A verb."""

    assert [parameter.name for parameter in verb.params] == ["zebra", "ant", "moth"]
