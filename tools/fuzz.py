"""Feed mutated files to the command line, and see that each ends in time, in memory, with a right exit code, and whole.

    python -m tools.fuzz --seed 1 --cases 10000 [--start N] [--save FOLDER]
    python -m tools.fuzz --seed 1 --start 4711 --cases 1 --save FOLDER      # replay one
    python -m tools.fuzz --corpus tests/fuzz_corpus                         # what once failed

The packages are imported once, and every case is a forked process that runs the program as a user does: supervised,
under its own limits. Each case is drawn from (seed, number) alone, so that it can be replayed. `tests/fuzz_corpus/` has
what once failed; the tests run it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tools.mutations import mutated_bytes, mutated_model, mutated_text

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "sample_models"
MODELS = (
    "digits_torch_legacy",
    "digits_keras",
    "digits_paddle",
    "digits_jax",
    "digits_torch_dynamo",
    "digits_torch_vit",
)
#: Limits that every case is given, and those that no case may pass.
LIMITS = ("--limit-seconds", "10", "--limit-memory", "3GB")
HANG_SECONDS = 25.0
MOST_MEMORY = 6_000_000_000
EXPECTED_CODES = frozenset({0, 1, 2, 3})
_PRELOADED = (
    *(
        "onnx_gapmil.cli",
        "onnx_gapmil.api",
        "onnx_gapmil.cli.inspect",
        "onnx_gapmil.cli.rewrite",
        "onnx_gapmil.cli.repool",
        "onnx_gapmil.cli.predict",
    ),
    *(
        "onnx_gapmil.cli.audit",
        "onnx_gapmil.cli.verify",
        "onnx_gapmil.auditing.text",
        "onnx_gapmil.show.terminal.inspection_note",
        "onnx_gapmil.show.terminal.rewrite_note",
    ),
    *(
        "onnx_gapmil.ort.quiet",
        "onnx.reference",
        "onnx.reference.ops",
        "numpy.random",
        "onnx_gapmil.show.drawing.pictures",
    ),
)


@dataclass(frozen=True)
class Case:
    """One call of the program.

    Attributes:
        kind: what was mutated.
        arguments: of the command line, run in the case's folder.
        mutated: the file that was mutated, in that folder.
    """

    kind: str
    arguments: tuple[str, ...]
    mutated: str


@dataclass(frozen=True)
class Outcome:
    """What became of a case; `problem` is empty where all is well."""

    code: int
    seconds: float
    memory: int
    problem: str


def make_case(seed: int, number: int, folder: Path) -> Case:
    """Lay out the files of a case, and say what to call."""
    random = Random(f"{seed}:{number}")  # noqa: S311  (replayable, and no secret)
    name = random.choice(MODELS)
    kinds = {"model": 62, "rewritten": 6, "csv": 7, "jsonl": 4, "voc": 4, "image": 7, "journal": 5, "settings": 5}
    kind = random.choices(list(kinds), list(kinds.values()))[0]
    data = (SAMPLES / f"{name}.onnx").read_bytes()
    if kind in ("model", "rewritten"):
        if kind == "rewritten":
            data = _rewritten(name)
        change = mutated_model if random.random() < 0.75 else mutated_bytes
        (folder / "m.onnx").write_bytes(change(data, random))
        verbs = (("inspect",), ("inspect", "--json"), ("rewrite",), ("rewrite", "--json"), ("predict",), ("verify",))
        verb = random.choices((*verbs, ("repool", "--with", "max")), (35, 15, 18, 10, 12, 8, 12))[0]
        extra: tuple[str, ...] = ()
        if verb[0] == "predict":
            shutil.copy(SAMPLES / "scenes" / "scene_00.png", folder / "p.png")
            extra = ("p.png", "-o", "out")
        elif verb[0] == "verify":
            (folder / "o.onnx").write_bytes((SAMPLES / f"{name}.onnx").read_bytes())
            return Case(kind, (*verb, "o.onnx", "m.onnx", *LIMITS), "m.onnx")
        return Case(kind, (verb[0], "m.onnx", *extra, *verb[1:], *LIMITS), "m.onnx")
    (folder / "m.onnx").write_bytes((SAMPLES / "digits_torch_legacy.onnx").read_bytes())
    for ending in ("labels.txt", "preprocess.json"):
        shutil.copy(SAMPLES / f"digits_torch_legacy.{ending}", folder / f"m.{ending}")
    (folder / "data").mkdir()
    for place in range(3):
        shutil.copy(SAMPLES / "scenes" / f"scene_{place:02d}.png", folder / "data" / f"{place}.png")
    return _data_case(kind, folder, random)


def _data_case(kind: str, folder: Path, random: Random) -> Case:
    audit = ("audit", "m.onnx", "data", "-o", "out", *LIMITS)
    if kind == "image":
        path = folder / "data" / "1.png"
        if random.random() < 0.6:
            from PIL import Image

            ending = random.choice(("jpg", "gif", "tif", "webp", "bmp", "ppm"))
            with Image.open(path) as image:
                image.convert("RGB").save(folder / "data" / f"1.{ending}")
            path.unlink()
            path = folder / "data" / f"1.{ending}"
        path.write_bytes(mutated_bytes(path.read_bytes(), random))
        return Case(kind, ("predict", "m.onnx", "data", "-o", "out", "--save", "npz", *LIMITS), f"data/{path.name}")
    if kind == "settings":
        name = random.choice(("m.labels.txt", "m.preprocess.json"))
        _mutate_text(folder / name, random)
        return Case(kind, ("predict", "m.onnx", "data/0.png", "-o", "out", *LIMITS), name)
    if kind == "csv":
        text = "image,label,boxes,group\n" + "".join(f'{n}.png,{n + 3},"[[2, 2, 20, 20]]",a\n' for n in range(3))
        (folder / "data" / "labels.csv").write_text(text)
        _mutate_text(folder / "data" / "labels.csv", random)
        return Case(
            kind, ("audit", "m.onnx", "data", "--labels", "data/labels.csv", "-o", "out", *LIMITS), "data/labels.csv"
        )
    rows = [{"image": f"{n}.png", "label": n + 3, "boxes": [[2, 2, 20, 20]]} for n in range(3)]
    (folder / "data" / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    by_lines = ("audit", "m.onnx", "data", "--labels", "data/labels.jsonl", "-o", "out", "--batch", "1", *LIMITS)
    if kind == "jsonl":
        _mutate_text(folder / "data" / "labels.jsonl", random)
        return Case(kind, by_lines, "data/labels.jsonl")
    if kind == "journal":
        _interrupted_audit(folder)
        files = sorted((folder / "out" / ".audit").iterdir())
        path = random.choice(files)
        if random.random() < 0.5:
            path.write_bytes(mutated_bytes(path.read_bytes(), random))
        else:
            _mutate_text(path, random)
        return Case(kind, by_lines, f"out/.audit/{path.name}")
    (folder / "data" / "labels.jsonl").unlink()
    for n in range(3):
        (folder / "data" / f"{n}.xml").write_text(
            f"<annotation><filename>{n}.png</filename><size><width>96</width><height>96</height><depth>3</depth></size>"
            f"<object><name>{n + 3}</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
            "</object></annotation>"
        )
    _mutate_text(folder / "data" / "1.xml", random)
    return Case(kind, audit, "data/1.xml")


def _mutate_text(path: Path, random: Random) -> None:
    text = mutated_text(path.read_text(encoding="utf-8", errors="surrogateescape"), random)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


_made: dict[str, bytes] = {}


def _rewritten(name: str) -> bytes:
    """A rewritten model, made once by a process of its own: the server itself runs no model."""
    if name not in _made:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "r.onnx"
            _fork_and_run(("rewrite", str(SAMPLES / f"{name}.onnx"), "-o", str(path)), Path(place), 120.0)
            _made[name] = path.read_bytes() if path.exists() else (SAMPLES / f"{name}.onnx").read_bytes()
    return _made[name]


_journal: dict[str, bytes] = {}


def _interrupted_audit(folder: Path) -> None:
    """The journal that a killed audit leaves: made once by a process that ends itself after its second batch."""
    if not _journal:
        arguments = ("audit", "m.onnx", "data", "--labels", "data/labels.jsonl", "-o", "out", "--batch", "1")
        _fork_and_run(arguments, folder, 120.0, stop_after=2)
        for path in sorted((folder / "out" / ".audit").iterdir()):
            _journal[path.name] = path.read_bytes()
        shutil.rmtree(folder / "out")
    (folder / "out" / ".audit").mkdir(parents=True)
    for name, content in _journal.items():
        (folder / "out" / ".audit" / name).write_bytes(content)


def run_case(case: Case, folder: Path) -> Outcome:
    """Run a case in its folder, and judge it."""
    before = _digests(folder)
    code, seconds, memory = _fork_and_run(case.arguments, folder, HANG_SECONDS)
    said = (folder / ".stderr").read_text(errors="replace")
    printed = (folder / ".stdout").read_text(errors="replace")
    return Outcome(code, seconds, memory, _problem(case, folder, before, (code, seconds, memory), said, printed))


def _problem(
    case: Case, folder: Path, before: dict[str, str], found: tuple[int, float, int], said: str, printed: str
) -> str:
    code, seconds, memory = found
    after = _digests(folder)
    lost = [name for name, digest in before.items() if after.get(name) != digest and not name.startswith("out/.audit")]
    parts = [name for name in after if name.endswith(".gapmil-part")]
    problems = (
        (code == -9 or seconds > HANG_SECONDS, f"hang: {seconds:.1f} s"),
        (code not in EXPECTED_CODES, f"exit code {code}"),
        ("Bug:" in said or "Traceback" in said, "bug: " + said.strip()[-300:]),
        ("crashed" in said, f"crash of the runtime: {said.strip()[:200]}"),
        (code == 2 and said.count("\n") > 40, f"{said.count(chr(10))} lines on stderr"),
        (memory > MOST_MEMORY, f"memory: {memory / 1e9:.1f} GB"),
        (bool(lost), f"changed: {', '.join(lost)}"),
        (bool(parts), f"half files: {', '.join(parts)}"),
        ("\x1b" in said + printed or "\u202e" in said + printed, "the terminal is steered"),
        ("--json" in case.arguments and not _is_json(printed), f"no JSON: {printed[:80]!r}"),
    )
    return "; ".join(text for wrong, text in problems if wrong)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".stdout", ".stderr")
    }


def _fork_and_run(
    arguments: tuple[str, ...], folder: Path, seconds: float, stop_after: int | None = None
) -> tuple[int, float, int]:
    """Run the program in a forked process; gives its exit code (negative: killed by), seconds and bytes."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _be_the_program(arguments, folder, stop_after)
    deadline = start + seconds
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.004)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start, usage.ru_maxrss * 1024


def _be_the_program(arguments: tuple[str, ...], folder: Path, stop_after: int | None) -> None:
    """In the child: streams into files, then the command line as it is started from a shell. Does not return."""
    code = 99
    try:
        os.chdir(folder)
        for number, name in ((1, ".stdout"), (2, ".stderr")):
            opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
            os.close(opened)
        os.environ["XDG_CACHE_HOME"] = str(folder / ".cache")
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["onnx-gapmil", *arguments]
        if stop_after is not None:
            _stop_itself(stop_after)
        from onnx_gapmil.cli import main

        code = main(list(arguments)) if stop_after is not None else main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001  (a process must not return into the server)
        os.write(2, f"Traceback: {error!r}\n".encode())
    finally:
        os._exit(code)


def _stop_itself(batches: int) -> None:
    """Let an audit be killed after so many batches."""
    from onnx_gapmil.auditing.journal import Journal

    add, count = Journal.add, iter(range(1, 1000))

    def adding(self: Journal, *given: object, **more: object) -> None:
        add(self, *given, **more)  # type: ignore[arg-type]
        if next(count) >= batches:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.add = adding  # type: ignore[method-assign]


@contextlib.contextmanager
def _case_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gapmil-fuzz-") as place:
        yield Path(place)


def corpus(folder: Path) -> Iterator[tuple[str, Path]]:
    """The cases that are kept: folders with files, and with the ``arguments`` to run in them."""
    for place in sorted(folder.iterdir()):
        if (place / "arguments").is_file():
            yield place.name, place


def run_corpus(folder: Path) -> int:
    """Run what once failed; gives the number of cases that fail."""
    failures = 0
    for name, place in corpus(folder):
        with _case_folder() as work:
            shutil.copytree(place, work, dirs_exist_ok=True)
            text = (work / "arguments").read_text(encoding="utf-8").replace("{samples}", str(SAMPLES))
            (work / "arguments").unlink()
            outcome = run_case(Case("corpus", tuple(text.split()), ""), work)
            failures += bool(outcome.problem)
            print(
                f"{name:32} exit {outcome.code}, {outcome.seconds:4.1f} s  {outcome.problem or 'as it should'}",
                flush=True,
            )
    return failures


def main() -> int:
    """Run the cases, and print a table of what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--corpus", type=Path, help="run the cases that this folder keeps, and no others")
    parser.add_argument("--save", type=Path, help="keep the files of each case that failed here")
    asked = parser.parse_args()
    for name in _PRELOADED:
        importlib.import_module(name)
    from onnx_gapmil.ort.quiet import onnxruntime_module

    onnxruntime_module()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if asked.corpus is not None:
        return 1 if run_corpus(asked.corpus) else 0
    codes: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    failures, slowest, most, begun, done = 0, 0.0, 0, time.monotonic(), 0
    for number in range(asked.start, asked.start + asked.cases):
        if time.monotonic() - begun > asked.seconds:
            break
        with _case_folder() as folder:
            case = make_case(asked.seed, number, folder)
            outcome = run_case(case, folder)
            done += 1
            codes[case.kind][outcome.code] += 1
            slowest, most = max(slowest, outcome.seconds), max(most, outcome.memory)
            if outcome.problem:
                failures += 1
                print(f"{number} {case.kind} {' '.join(case.arguments[:3])}: {outcome.problem}", flush=True)
            if asked.save is not None and (outcome.problem or asked.cases == 1):
                shutil.copytree(folder, asked.save / f"{asked.seed}-{number}", dirs_exist_ok=True)
                (asked.save / f"{asked.seed}-{number}" / "arguments").write_text(" ".join(case.arguments))
        if done % 500 == 0:
            print(f"-- {done} cases, {failures} failed, {time.monotonic() - begun:.0f} s", flush=True)
    for kind, found in sorted(codes.items()):
        row = ", ".join(f"exit {code}: {count}" for code, count in sorted(found.items()))
        print(f"{kind:10} {sum(found.values()):6}  {row}")
    print(
        f"seed {asked.seed}, cases {asked.start} to {asked.start + done - 1}: {failures} failed; the slowest took "
        f"{slowest:.1f} s, the largest {most / 1e9:.2f} GB; {time.monotonic() - begun:.0f} s in all"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
