"""Checks of real models: the rules on the file by proof, the draft, and the whole way from data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from onnx_gapmil import CheckReport, InputError, Policy, audit, check, compare, rewrite
from onnx_gapmil.cli import main
from onnx_gapmil.lift.tokens.modes import ClassTokenWish
from onnx_gapmil.validation.checking.check import draft
from tests.helpers.compared import changed_model, lines_of, vendor, write_data
from tests.helpers.policies import SUMMARY
from tests.helpers.scene_data import MODEL

SAMPLES = MODEL.parent
NAMES = (SAMPLES / "digits_torch_legacy.labels.txt").read_text("utf-8").split()
ON_FILE = (
    'schema_version = 1\n[model]\nverdict = ["exact"]\nplaces = true\nmax_residual = 2e-5\npreprocessing = "stated"\n'
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), copies=4)


@pytest.fixture(scope="module")
def audited(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    audit(MODEL, data, folder)
    return folder


def states(report: CheckReport) -> dict[str, str]:
    return {rule.name: rule.state for rule in report.rules}


def test_a_model_is_proved_where_the_rules_ask_for_it() -> None:
    report = check(MODEL, Policy.parse(ON_FILE))
    assert set(states(report).values()) == {"passed"}
    residual = next(rule for rule in report.rules if rule.name == "model.max_residual")
    assert isinstance(residual.value, float)
    assert 0 < residual.value < 2e-5
    strict = Policy.parse("schema_version = 1\n[model]\nmax_residual = 1e-12\nplaces = false\n")
    assert set(states(check(MODEL, strict)).values()) == {"failed"}


def test_a_rewritten_file_is_lifted_and_proved_anew(tmp_path: Path) -> None:
    for ending in ("onnx", "labels.txt", "preprocess.json"):
        shutil.copy(MODEL.with_name(f"{MODEL.stem}.{ending}"), tmp_path)
    written = rewrite(tmp_path / MODEL.name).output_path
    assert written is not None
    assert set(states(check(written, Policy.parse(ON_FILE))).values()) == {"passed"}


def test_a_refused_head_fails_its_verdict_and_proves_nothing() -> None:
    report = check(SAMPLES / "digits_torch_vit.onnx", Policy.parse(ON_FILE))
    assert states(report) == {
        "model.verdict": "failed",
        "model.places": "not_judged",
        "model.max_residual": "not_judged",
        "model.preprocessing": "not_judged",
    }
    assert "refused (class-token)" in report.rules[0].reason
    assert report.exit_code == 1


@pytest.mark.parametrize("mode", ["direct", "through", "auto"])
def test_a_class_token_is_lifted_where_it_is_asked_for(mode: ClassTokenWish) -> None:
    rules = Policy.parse('schema_version = 1\n[model]\nverdict = ["conditional"]\nplaces = true\nmax_residual = 2e-5\n')
    model = SAMPLES / "digits_torch_vit.onnx"
    assert set(states(check(model, rules, class_token=mode)).values()) == {"passed"}
    assert "failed" in states(check(model, rules)).values()  # what was kept of the one says nothing of the other


@pytest.mark.parametrize("mode", ["direct"])
def test_a_class_token_is_audited_and_judged_by_the_same_lift(data: Path, tmp_path: Path, mode: ClassTokenWish) -> None:
    rules = Policy.parse(
        'schema_version = 1\n[model]\nverdict = ["conditional"]\n[[require]]\nmetric = "top1"\nmin = 0\n'
    )
    model = SAMPLES / "digits_torch_vit.onnx"
    made = check(model, rules, data=data, output=tmp_path, class_token=mode)
    assert set(states(made).values()) == {"passed"}
    summary = json.loads((tmp_path / "audit" / "summary.json").read_text())
    assert summary["head"]["class_token_lift"] == mode
    assert set(states(check(model, rules, audit=tmp_path / "audit")).values()) == {"passed"}


def test_guessed_preprocessing_is_not_stated(tmp_path: Path) -> None:
    bare = shutil.copy(MODEL, tmp_path / "bare.onnx")
    rule = Policy.parse('schema_version = 1\n[model]\npreprocessing = "stated"\n')
    assert states(check(bare, rule)) == {"model.preprocessing": "failed"}
    assert states(check(bare, rule, preprocess="imagenet")) == {"model.preprocessing": "passed"}
    assert states(check(bare, rule, preprocess="auto")) == {"model.preprocessing": "not_judged"}
    assert states(check(bare, rule, preprocess=str(tmp_path / "none.json"))) == {"model.preprocessing": "not_judged"}


def test_an_output_that_is_not_there_is_not_judged() -> None:
    report = check(MODEL, Policy.parse(ON_FILE), head="absent")
    assert states(report)["model.places"] == "not_judged"
    assert states(report)["model.verdict"] == "not_judged"


def test_a_model_that_cannot_be_read_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(b"garbage")
    (tmp_path / "gapmil.toml").write_text("schema_version = 1\n[model]\nplaces = true\n")
    assert main(["check", str(tmp_path / "m.onnx"), "--policy", str(tmp_path / "gapmil.toml")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_draft_is_a_policy_that_the_model_meets(
    audited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "gapmil.toml"
    command = ["check", str(MODEL), "--policy", str(policy), "--audit", str(audited)]
    assert main([*command, "--init"]) == 0
    assert main(command) == 0
    text = policy.read_text("utf-8")
    assert main([*command, "--init"]) == 2
    assert policy.read_text("utf-8") == text
    assert "never overwritten" in capsys.readouterr().err
    summary = json.loads((audited / "summary.json").read_text("utf-8"))
    limits = {rule.metric: rule.limit.value for rule in Policy.load(policy).rules}
    assert limits["pointing_game"] == pytest.approx(summary["intervals"]["pointing_game"][0], abs=1e-3)
    assert limits["pointing_game"] <= summary["intervals"]["pointing_game"][0]


def test_a_draft_asks_no_number_of_wrong_answers(audited: Path, tmp_path: Path) -> None:
    """A better model has fewer of them, and could not be judged."""
    summary = json.loads((audited / "summary.json").read_text("utf-8"))
    summary["foreground"]["wrong"]["images"] = summary["counts"]["foreground.wrong.excess"] = 60
    (tmp_path / "summary.json").write_text(json.dumps(summary), "utf-8")
    draft(MODEL, tmp_path / "gapmil.toml", audit=tmp_path)
    assert not any("wrong" in rule.metric for rule in Policy.load(tmp_path / "gapmil.toml").rules)
    assert "# No rule on wrong answers alone" in (tmp_path / "gapmil.toml").read_text("utf-8")


def test_a_draft_of_another_models_audit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    with pytest.raises(InputError, match="of another model"):
        draft(MODEL, tmp_path / "gapmil.toml", audit=tmp_path)
    assert not (tmp_path / "gapmil.toml").exists()


def test_from_data_alone_audit_and_comparison_are_made_and_judged(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [line["label"] for line in lines_of(data)]
    right = vendor(MODEL, data).logits.argmax(1) == known
    lost = max(range(10), key=lambda digit: sum(right[np.equal(known, digit)]) / max(1, known.count(digit)))
    dropped = changed_model(tmp_path / "new", drop=lost)
    policy = tmp_path / "gapmil.toml"
    policy.write_text(
        'schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.0\n'
        '[[require]]\nname = "no class is lost"\nmetric = "compare.accuracy.difference"\nslice = "worst:class"\n'
        "min = -0.4\n"
    )
    command = ["check", str(dropped), "--policy", str(policy), "--data", str(data), "--against", str(MODEL)]
    assert main([*command, "-o", str(tmp_path / "out"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [rule["state"] for rule in found["rules"]] == ["passed", "failed"]
    assert found["rules"][1]["slice"] == f"class={NAMES[lost]}"
    assert (tmp_path / "out" / "compare" / "report.html").is_file()
    # The results that lie there are judged again, without running anything.
    again = [*command[:4], "--audit", str(tmp_path / "out" / "audit"), "--compare", str(tmp_path / "out" / "compare")]
    assert main(again) == 1


def test_an_audit_of_the_data_is_a_baseline_for_it_and_for_no_other(audited: Path, data: Path, tmp_path: Path) -> None:
    new = changed_model(tmp_path / "new")
    audit(new, data, tmp_path / "audit")
    compare(MODEL, new, data, tmp_path / "compare", gallery=0)
    rules = Policy.parse(
        'schema_version = 1\n[[require]]\nmetric = "top1"\nmax_drop = 0.9\n'
        '[[require]]\nmetric = "top1"\nmax_drop = 0.9\nbound = "upper"\n'
    )
    sliced = Policy.parse(
        'schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.0\nslice = "light=night"\n'
        '[[require]]\nmetric = "top1"\nmin = 1.1\nslice = "worst:light"\n'
        '[[require]]\nmetric = "top1"\nmin = 0.0\nslice = "worst:light"\nmin_images = 9\n'
        '[[require]]\nmetric = "top1"\nmax_drop = 1.0\nslice = "worst:light"\n'
        '[[require]]\nmetric = "top1"\nmax_drop = 1.0\nslice = "worst:light"\nbound = "upper"\n'
    )
    options = {"audit": tmp_path / "audit", "baseline": audited, "compare": tmp_path / "compare"}
    first, second = check(new, rules, **options).rules  # type: ignore[arg-type]
    assert (first.state, second.state) == ("passed", "passed")
    assert first.value == pytest.approx(second.value)
    found = check(new, sliced, **options).rules  # type: ignore[arg-type]
    assert [rule.state for rule in found] == ["passed", "failed", "not_judged", "passed", "passed"]
    nights = np.array([line["light"] == "night" for line in lines_of(data)])
    known = np.array([line["label"] for line in lines_of(data)])
    assert found[0].value == np.mean((vendor(new, data).logits.argmax(1) == known)[nights])
    assert found[0].images == nights.sum() == 8
    smaller = write_data(tmp_path / "smaller", copies=1)
    audit(MODEL, smaller, tmp_path / "other")
    options["baseline"] = tmp_path / "other"
    assert [rule.state for rule in check(new, rules, **options).rules] == ["not_judged"] * 2  # type: ignore[arg-type]
