"""The journal: what was written before a kill is there, and what was cut short is not believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_gapmil.auditing.journal import Decisions, Identity, Journal, Settings
from onnx_gapmil.auditing.records import Failure, measured
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.checked_lines import checked_line
from onnx_gapmil.files.identity import FileIdentity
from onnx_gapmil.files.packed import PackedRecords
from onnx_gapmil.files.serial import to_json
from tests.helpers.audit_records import record
from tests.helpers.support import raw_pixels

SETTINGS = Settings(
    Identity(
        model="m.onnx",
        data="photos",
        labels=None,
        names="names.txt",
        class_map=None,
        offset=-1,
        preprocess=None,
        provider="auto",
        head=None,
        batch=2,
        version="1",
        sha256="ab",
        used="cpu",
        weights=12,
        class_names="ef",
        class_table=None,
        preprocessing="01",
        libraries="numpy 2",
        thresholds="23",
    ),
    Decisions(
        preprocess=raw_pixels(8, 9),
        source="a file",
        assumed=False,
        offset=None,
        class_map_source="names",
        samples="cd",
    ),
)
FIRST = [record("a.png", share=0.1), Failure("b.png", "broken")]
SECOND = [record("c.png", answer=2, sure=1 / 3, cause="distraction", share=1 / 7)]


def started(folder: Path) -> Journal:
    journal = Journal(folder)
    journal.start(SETTINGS)
    return journal


def test_a_new_folder_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal").find() is None


def test_what_was_added_is_found_to_the_last_bit(tmp_path: Path) -> None:
    with started(tmp_path / "journal") as journal:
        journal.add(FIRST)
        journal.add(SECOND)
    found = Journal(tmp_path / "journal").find()
    assert found is not None
    assert found.settings == SETTINGS
    assert [list(batch) for batch in found.batches] == [FIRST, SECOND]


KNOWN = FileIdentity(3, 5, 7, "ab")
NAMES = ['a "quoted" one.png', 'b\\{"image":"x.png".png', "\u00e9.png", ',"records":[{"image":"y"']


def test_names_are_told_before_records_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [record(NAMES[0]), Failure(NAMES[1], 'no {"image":"z"}'), record(NAMES[2]), Failure(NAMES[3], "broken")]
    with started(tmp_path / "journal") as journal:
        journal.add(batch, [KNOWN] * 4)
        journal.add(SECOND, [KNOWN])
    again = Journal(tmp_path / "journal")
    with monkeypatch.context() as patched:
        patched.setattr(again, "_read", lambda _: pytest.fail("a record was read"))
        found = again.find()
    assert found is not None
    assert found.images == (tuple(NAMES), ("c.png",))
    assert found.files == ((KNOWN,) * 4, (KNOWN,))
    assert found.batches == (tuple(batch), tuple(SECOND))
    assert measured(PackedRecords(found.batches, [0, 1])) == (batch[0], batch[2], SECOND[0])


def test_a_line_of_the_right_sum_without_records_is_told_when_they_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with started(folder) as journal:
        journal.add(SECOND, [KNOWN])
    path = folder / "batches.jsonl"
    path.write_bytes(checked_line(path.read_bytes()[9:-1].replace(b'"ranks":[2]', b'"ranks":"2"')) + b"\n")
    found = Journal(folder).find()
    assert found is not None
    assert found.images == (("c.png",),)
    with pytest.raises(InputError, match=r"holds what is no record .*ranks.*--restart"):
        found.batches[0]


@pytest.mark.parametrize("cut", [1, 2, 10])
def test_a_line_that_was_cut_short_is_no_batch_and_is_overwritten(tmp_path: Path, cut: int) -> None:
    folder = tmp_path / "journal"
    with started(folder) as journal:
        journal.add(FIRST)
        journal.add(SECOND)
    path = folder / "batches.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(folder)
    found = again.find()
    assert found is not None
    assert [list(batch) for batch in found.batches] == [FIRST]
    with again:
        again.keep([0])
        again.add(SECOND)
    lines = [line.partition(" ")[2] for line in path.read_text("utf-8").splitlines()]  # behind the sum of its bytes
    assert [json.loads(line) for line in lines] == [to_json(FIRST), to_json(SECOND)]


def test_a_finished_audit_leaves_no_journal(tmp_path: Path) -> None:
    journal = started(tmp_path / "journal")
    journal.add(FIRST)
    journal.clear()
    assert not (tmp_path / "journal").exists()


def test_starting_anew_forgets_the_batches(tmp_path: Path) -> None:
    with started(tmp_path / "journal") as journal:
        journal.add(FIRST)
    started(tmp_path / "journal").close()
    found = Journal(tmp_path / "journal").find()
    assert found is not None
    assert found.batches == ()


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"7",
        b'["a.png"]',
        b'[{"image": "a.png"}]',
        b'[{"image": "a.png", "error": 3}]',
        b'[{"image": "a.png", "error": "broken", "label": 3}]',
    ],
)
def test_a_line_that_is_no_batch_is_passed_over(tmp_path: Path, line: bytes) -> None:
    folder = tmp_path / "journal"
    with started(folder) as journal:
        journal.add(FIRST)
        journal.add(SECOND)
    path = folder / "batches.jsonl"
    first, second = path.read_bytes().splitlines()
    path.write_bytes(first + b"\n" + line + b"\n" + second + b"\n")
    again = Journal(folder)
    found = again.find()
    assert found is not None
    assert found.batches == (tuple(FIRST), tuple(SECOND))
    again.keep([0, 1])
    assert path.read_bytes().splitlines() == [first, second]


def test_a_digit_that_changed_on_the_disk_is_no_measurement(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with started(folder) as journal:
        journal.add(FIRST)
        journal.add(SECOND)
    path = folder / "batches.jsonl"
    whole = path.read_bytes()
    place = whole.index(b"0.1")
    path.write_bytes(whole[: place + 2] + b"2" + whole[place + 3 :])
    found = Journal(folder).find()
    assert found is not None
    assert found.batches == (tuple(SECOND),)


@pytest.mark.parametrize("text", ["{", "[]", '{"request": {}}'])
def test_a_damaged_journal_is_told(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "journal"
    started(folder).close()
    (folder / "settings.json").write_text(text)
    with pytest.raises(InputError, match="--restart"):
        Journal(folder).find()


def test_a_number_that_is_not_finite_never_gets_into_the_journal(tmp_path: Path) -> None:
    with started(tmp_path / "journal") as journal, pytest.raises(ValueError, match="JSON compliant"):
        journal.add([record("a.png", sure=float("nan"))])
