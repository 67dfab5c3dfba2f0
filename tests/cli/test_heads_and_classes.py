"""Heads, names and classes: the same words in every verb."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from PIL import Image

from tests.helpers import colours
from tests.helpers.verbs import run, run_json


@pytest.fixture
def made(tmp_path: Path) -> Path:
    for kind in ("heads", "sigmoids", "one", "logits"):
        colours.write_model(tmp_path / f"{kind}.onnx", kind)
    Image.fromarray(colours.photo([(0, 1, 1, 2), (2, 4, 4, 1)])).save(tmp_path / "photo.png")
    (tmp_path / "rgb.txt").write_text("\n".join(colours.NAMES))
    colours.write_photos(tmp_path / "data", 6)
    return tmp_path


def predicted(capsys: pytest.CaptureFixture[str], made: Path, model: str, *options: object) -> list[dict]:
    out = made / "predicted"
    code, found = run_json(
        capsys, "predict", made / f"{model}.onnx", made / "photo.png", "-o", out, "--no-pictures", *options
    )
    assert code == 0
    return found["images"][0]["heads"]


VERBS = {
    "inspect": ["{heads}"],
    "rewrite": ["{heads}", "-o", "{folder}/w.onnx"],
    "predict": ["{heads}", "{photo}", "-o", "{folder}/p"],
    "audit": ["{heads}", "{data}", "-o", "{folder}/a"],
    "compare": ["{heads}", "{heads}", "{data}", "-o", "{folder}/c"],
    "verify": ["{heads}", "{folder}/all.onnx"],
    "check": ["{heads}", "--data", "{data}", "--policy", "{folder}/policy.toml", "-o", "{folder}/k"],
}


def arguments(made: Path, verb: str) -> list[str]:
    places = {
        "heads": made / "heads.onnx",
        "photo": made / "photo.png",
        "data": made / "data" / "labels.jsonl",
        "folder": made,
    }
    return [entry.format(**places) for entry in VERBS[verb]]


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_head_is_one_sentence_that_lists_the_heads(
    made: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb == "verify":
        assert run("rewrite", made / "heads.onnx", "-o", made / "all.onnx") == 0
    (made / "policy.toml").write_text('schema_version = 1\n[[require]]\nmetric = "top1"\nmin = 0.1\n')
    capsys.readouterr()
    assert run(verb, *arguments(made, verb), "--head", "colours") == 2
    error = capsys.readouterr().err
    assert "has no head 'colours'; its heads are 'defect', 'colour', 'e'" in error
    assert error.count("Error:") == 1


def test_one_head_alone_has_outputs_without_a_suffix(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "rewrite", made / "heads.onnx", "--head", "colour")
    assert code == 0
    assert [head["grid"] for head in found["heads"]] == ["gapmil_grid"]
    outputs = [value.name for value in onnx.load(made / "heads.gapmil.onnx").graph.output]
    assert outputs == ["e", "defect", "colour", "gapmil_logits", "gapmil_features", "gapmil_grid"]
    assert run("verify", made / "heads.onnx") == 0
    capsys.readouterr()
    (head,) = predicted(capsys, made, "heads.gapmil")
    assert head["output"] == "colour"


def test_all_heads_of_a_file_and_one_of_them(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heads = predicted(capsys, made, "heads", "--names", made / "rgb.txt")
    assert [head["output"] for head in heads] == ["defect", "colour", "e"]
    labels = [{entry["label"] for entry in head["top"]} for head in heads]
    assert labels[0] == {"class 0", "class 1"}  # two classes by one logit, and three names
    assert labels[1] == set(colours.NAMES)
    assert labels[2] == {"feature 0", "feature 1", "feature 2"}  # as many, and no classes
    assert heads[2]["features_of"] == ["defect", "colour"]
    assert heads[1]["boxes"]
    assert heads[2]["boxes"] == []
    (alone,) = predicted(capsys, made, "heads", "--head", "defect")
    assert alone["output"] == "defect"


def test_inspect_gives_names_to_the_head_that_they_fit(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = run_json(capsys, "inspect", made / "heads.onnx", "--names", made / "rgb.txt")
    assert {output: entry["names"] for output, entry in found["class_names"].items()} == {
        "defect": None,
        "colour": list(colours.NAMES),
        "e": None,
    }
    assert [head["features_of"] for head in found["heads"]] == [[], [], ["defect", "colour"]]
    code, only = run_json(capsys, "inspect", made / "heads.onnx", "--head", "defect")
    assert code == 0
    assert [head["output"] for head in only["heads"]] == ["defect"]


def test_sigmoids_say_what_is_present_and_nothing_of_softmax(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red covers 4 of 36 cells: 30 * 4 / 36 - 2 = 1.33; blue one: -1.17, and its cell is won by it all the same."""
    (head,) = predicted(capsys, made, "sigmoids", "--names", made / "rgb.txt")
    assert (head["reading"], head["thresholds"]) == ("multi-label", 0.5)
    assert [entry["label"] for entry in head["present"]] == ["red"]
    assert {entry["label"]: entry["cells"] for entry in head["winners"]} == {"red": 4, "blue": 1}
    assert head["none_cells"] == 31
    out = made / "text"
    assert run("predict", made / "sigmoids.onnx", made / "photo.png", "-o", out, "--names", made / "rgb.txt") == 0
    text = capsys.readouterr().out
    assert "present: red 79.1 %" in text
    assert "red 4, blue 1, none 31" in text
    assert "softmax" not in text
    (head,) = predicted(capsys, made, "sigmoids", "--thresholds", "0.9")
    assert head["present"] == []


def test_a_photo_in_which_nothing_is_present_says_none(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(colours.photo([])).save(made / "photo.png")
    (head,) = predicted(capsys, made, "sigmoids")
    assert (head["present"], head["winners"], head["boxes"], head["none_cells"]) == ([], [], [], 36)
    assert run("predict", made / "sigmoids.onnx", made / "photo.png", "-o", made / "text") == 0
    assert "none of 3 classes is present; nearest to its threshold: class 0 11.9 %" in capsys.readouterr().out


def test_one_logit_is_two_classes_by_name_and_number(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "two.txt").write_text("fine\nbroken\n")
    (made / "x.txt").write_text("broken\n")
    for names, expected in (("two.txt", ["broken", "fine"]), ("x.txt", ["broken", "not broken"])):
        (head,) = predicted(capsys, made, "one", "--names", made / names)
        assert [(entry["index"], entry["label"]) for entry in head["top"]] == list(zip((1, 0), expected, strict=True))
        assert head["reading"] == "two-classes"
        assert sum(entry["score"] for entry in head["top"]) == pytest.approx(1)
        assert {entry["index"]: entry["cells"] for entry in head["winners"]} == {0: 32, 1: 4}


@pytest.mark.parametrize("asked", [["blue,0"], ["blue", "0"], ["2", "--classes", "red"]])
def test_chosen_classes_are_reported_whether_they_win_or_not(
    made: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--classes", asked[0], *(["--classes", asked[1]] if len(asked) == 2 else asked[1:])]
    (head,) = predicted(capsys, made, "logits", "--names", made / "rgb.txt", *options)
    assert [entry["label"] for entry in head["chosen"]] == ["blue", "red"]
    assert [entry["rank"] for entry in head["chosen"]] == [2, 1]
    assert [entry["best_cell"] for entry in head["chosen"]] == [[4, 4], [1, 1]]
    (only,) = predicted(capsys, made, "logits", "--names", made / "rgb.txt", "--classes", "green")
    assert only["boxes"] == []
    assert only["chosen"][0]["cells"] == 0


def test_a_class_that_is_none_is_one_sentence(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = made / "nothing"
    command = ["predict", made / "logits.onnx", made / "photo.png", "-o", out, "--names", made / "rgb.txt"]
    assert run(*command, "--classes", "grean") == 2
    said = capsys.readouterr().err
    assert "'grean' is no class; output 'y' has 3: 'red', 'green', 'blue'. Is it 'green'?" in said
    assert not out.exists()


def test_the_old_spelling_of_names_answers_with_a_hint(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", made / "logits.onnx", made / "photo.png", "-o", made / "o", "--labels", made / "rgb.txt"]
    assert run(*command) == 0
    told = capsys.readouterr()
    assert "note: --labels is the old spelling of --names here, and goes with 0.3; say --names." in told.err
    assert "red" in told.out
    assert run(*command, "--names", made / "rgb.txt") == 2
    assert "--labels is the old spelling of --names; give --names alone." in capsys.readouterr().err


@pytest.mark.parametrize(("model", "says"), [("one", "one logit, which is two classes"), ("logits", None)])
def test_thresholds_that_mean_nothing_are_told(
    made: Path, model: str, says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", made / f"{model}.onnx", made / "photo.png", "-o", made / "o", "--thresholds", "0.5"]
    assert run(*command) == (2 if says else 0)
    assert (says or "present: class 0") in "".join(capsys.readouterr())


def test_check_judges_figures_of_several_labels_by_their_paths(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = colours.write_photos(made / "more", 40)
    rules = {
        "multi_label.mean_average_precision": 'min = 0.9\nbound = "lower"',
        "multi_label.micro.precision": "min = 0.99",
        "multi_label.by_class.0.recall": "min = 0.999",
        "multi_label.macro.f1": "min = 0.1",
    }
    text = "schema_version = 1\n" + "".join(
        f'[[require]]\nmetric = "{metric}"\n{limit}\n' for metric, limit in rules.items()
    )
    (made / "policy.toml").write_text(text)
    code, found = run_json(
        capsys,
        "check",
        made / "sigmoids.onnx",
        "--policy",
        made / "policy.toml",
        "--data",
        data,
        "--names",
        made / "rgb.txt",
        "-o",
        made / "k",
    )
    assert code == 1
    by_metric = {rule["metric"]: rule for rule in found["rules"]}
    assert {metric: rule["state"] for metric, rule in by_metric.items()} == dict(
        zip(rules, ["passed", "passed", "failed", "passed"], strict=True)
    )
    labels = [json.loads(line)["labels"] for line in data.read_text().splitlines()]
    assert by_metric["multi_label.by_class.0.recall"]["images"] == sum("red" in own for own in labels)
    assert by_metric["multi_label.mean_average_precision"]["interval"] is not None


def test_features_are_not_audited(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["audit", made / "heads.onnx", made / "data" / "labels.jsonl", "-o", made / "a", "--head", "e"]
    assert run(*command) == 2
    said = capsys.readouterr().err
    assert "'e' is features that 'defect', 'colour' are made of, and no classes" in said
    assert "name the output that is of classes with --head" in said


def test_a_file_of_an_earlier_version_has_its_features_last_all_the_same(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Earlier records have the heads in the order of the outputs, and do not say what is features."""
    assert run("rewrite", made / "heads.onnx", "-o", made / "heads.gapmil.onnx") == 0
    model = onnx.load(made / "heads.gapmil.onnx")
    (entry,) = [entry for entry in model.metadata_props if entry.key == "gapmil.heads"]
    heads = json.loads(entry.value)
    assert [head["output"] for head in heads] == ["defect", "colour", "e"]
    for head in heads:
        del head["features_of"]
    entry.value = json.dumps([heads[2], heads[0], heads[1]])
    onnx.save(model, made / "heads.gapmil.onnx")
    capsys.readouterr()
    found = predicted(capsys, made, "heads.gapmil")
    assert [head["output"] for head in found] == ["defect", "colour", "e"]
    assert found[2]["features_of"] == ["defect", "colour"]


def test_inspect_says_how_logits_are_read(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, reading, words in (
        ("one", "two-classes", "one logit: two classes"),
        ("sigmoids", "multi-label", "sigmoids: several labels at once"),
        ("logits", "one-of-many", "exact"),
    ):
        _, found = run_json(capsys, "inspect", made / f"{kind}.onnx")
        assert [head["reading"] for head in found["heads"]] == [reading]
        assert run("inspect", made / f"{kind}.onnx") == 0
        assert words in capsys.readouterr().out


def test_labels_by_name_of_another_head_are_told_with_that_head(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first head has two classes, the names are three, and so are the labels."""
    command = ["audit", made / "heads.onnx", made / "data" / "labels.jsonl", "--names", made / "rgb.txt"]
    assert run(*command, "-o", made / "a") == 2
    assert "The class names are another output's: --head colour audits that one." in capsys.readouterr().err
    assert run(*command, "-o", made / "b", "--head", "colour") == 0
