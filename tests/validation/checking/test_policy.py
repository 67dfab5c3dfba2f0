"""Policies: what is read of them, and that each mistake is one sentence with its line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnx_gapmil import InputError, Policy
from onnx_gapmil.validation.checking.toml_lines import KeyLines

GOOD = """schema_version = 1
[model]
verdict = ["exact", "conditional"]
places = true
max_residual = 2e-5
preprocessing = "stated"
sha256 = "{sha}"

[[require]]            # the whole
metric = "top1"
min = 0.75
bound = "lower"
min_images = 100

[[require]]
name = "night"
metric = "top1"
max_drop = "2 %"
slice = "camera=night"
severity = "warn"
""".format(sha="A" * 64)


def test_everything_that_the_page_shows_is_read() -> None:
    policy = Policy.parse(GOOD)
    assert {rule.key: rule.wanted for rule in policy.model} == {
        "verdict": ("exact", "conditional"),
        "places": True,
        "max_residual": 2e-5,
        "preprocessing": "stated",
        "sha256": "a" * 64,
    }
    first, second = policy.rules
    assert (first.name, first.limit.value, first.bound, first.min_images) == (
        "top1 min 0.75 (lower end)",
        0.75,
        "lower",
        100,
    )
    assert (second.name, second.limit.value, second.limit.relative, second.severity) == ("night", 0.02, True, "warn")
    assert (first.line, second.line, policy.model[1].line) == (10, 17, 4)  # of their metrics


RULE = "schema_version = 1\n[[require]]\n"
WRONG = [
    ("", "line 1: schema_version is missing"),
    ("schema_version = 2\n", "line 1: schema_version is 2"),
    ("schema_version = true\n", "line 1: schema_version is True"),
    ("schema_version = 1\n", "it has no rule, so nothing would be judged"),
    ("schema_version = 1\n[model]\n", "it has no rule, so nothing would be judged"),
    ("schema_version = 1\nmodel = 3\n", "line 2: model is 3"),
    ("schema_version = 1\nrequire = 3\n", "line 2: require is no list"),
    ("schema_version = 1\n\n[modell]\n", "line 3: key 'modell' is not known; did you mean 'model'?"),
    ("schema_version = 1\n\n[[requires]]\nmin = 1\n", "line 3: key 'requires' is not known; did you mean 'require'?"),
    ("schema_version = 1\n[modell.a.b]\nx = 1\n", "line 2: key 'modell' is not known; did you mean 'model'?"),
    ("schema_version = 1\n[model]\nplace = true\n", "line 3: key 'place' is not known; did you mean 'places'?"),
    ("schema_version = 1\n[model]\nplaces = 1\n", "line 3: model.places is 1"),
    ('schema_version = 1\n[model]\nverdict = ["exakt"]\n', "line 3: model.verdict"),
    ("schema_version = 1\n[model]\nverdict = []\n", "line 3: model.verdict"),
    ("schema_version = 1\n[model]\nmax_residual = -1\n", "line 3: model.max_residual is -1"),
    ("schema_version = 1\n[model]\nmax_residual = nan\n", "line 3: model.max_residual is nan"),
    ('schema_version = 1\n[model]\npreprocessing = "guessed"\n', "line 3: model.preprocessing"),
    ('schema_version = 1\n[model]\nsha256 = "abc"\n', "line 3: model.sha256"),
    (RULE + "min = 1", "line 2: a rule has no metric"),
    (RULE + 'metric = "top1"', "line 2: a rule has one of min, max, max_drop and max_rise; this one has none"),
    (RULE + 'metric = "top1"\nmin = 1\nmax = 2', "this one has min and max"),
    (RULE + 'metric = "top1"\n\nminn = 1', "line 5: key 'minn' is not known; did you mean 'min'?"),
    (RULE + 'metric = "top1"\nmin = "0.7"', "line 4: min is '0.7'"),
    (RULE + 'metric = "top1"\nmin = inf', "line 4: min is inf"),
    (RULE + 'metric = "top1"\nmin = true', "line 4: min is True"),
    (RULE + 'metric = "top1"\nmax_drop = "2 points"', "line 4: max_drop is '2 points'"),
    (RULE + 'metric = "top1"\nmax_drop = -0.1', "line 4: max_drop is -0.1"),
    (RULE + 'metric = "top 1"\nmin = 1', "line 3: metric is 'top 1'"),
    (RULE + "metric = 1\nmin = 1", "line 3: metric is 1"),
    (RULE + 'metric = "top1"\nmin = 1\nbound = "low"', "line 5: bound is 'low'"),
    (RULE + 'metric = "top1"\nmin = 1\nslice = "night"', "line 5: slice is 'night'"),
    (RULE + 'metric = "top1"\nmin = 1\nslice = "worst:"', "line 5: slice is 'worst:'"),
    (RULE + 'metric = "top1"\nmin = 1\nmin_images = 1.5', "line 5: min_images is 1.5"),
    (RULE + 'metric = "top1"\nmin = 1\nseverity = "error"', "line 5: severity is 'error'"),
    (RULE + 'metric = "top1"\nmin = 1\n[[require]]\nmetric = "top1"\nmin = 1', "line 6: a rule called"),
    ("schema_version = 1\n[model\n", "not TOML"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_mistake_is_one_sentence_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "gapmil.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Policy.load(path)
    message = str(caught.value)
    assert said in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_a_missing_policy_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such policy.*check MODEL --audit OUT --init"):
        Policy.load(tmp_path / "absent.toml")
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        Policy.load(tmp_path / "a.toml")


def test_lines_are_found_around_strings_brackets_and_comments() -> None:
    lines = KeyLines(
        'schema_version = 1\n# [model]\n[model]\nverdict = [\n "exact",  # [\n "conditional" ]\n"pla=ces" = true\n'
        'note = """\n[[require]]\nx = 1 \\""" """\n[[require]]\nmetric = "a#b]"\nmin = 1\n[[require]]\n'
        "metric = '''q\n[[require]]'''\nsub.deep = {a = [1, 2], b = '}'}\nlast = 1\n"
    )
    assert lines.line("model", "verdict") == 4
    assert lines.line("model", "pla=ces") == 7
    assert lines.line("require", 0) == 11
    assert lines.line("require", 0, "min") == 13
    assert lines.line("require", 1, "metric") == 15
    assert lines.line("require", 1, "sub", "deep") == 17
    assert lines.line("require", 1, "last") == 18
    assert lines.line("require", 1, "absent") == 14
    assert lines.line("nothing") == 1
