"""Every message of an error or a refusal, as it stands in the source: the site lists them, and none is lost.

Only what the code spells is here: ``…`` stands for what a run puts in, a file's name, say. `docs/conf.py` makes the
page of them, and the tests hold the pages that explain errors against it.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

from onnx_gapmil.errors import GapmilError
from onnx_gapmil.lift.verdict import ADVICE
from onnx_gapmil.rewriting.proof import report as _  # noqa: F401 - an error is known once its module is imported

PACKAGE = Path(__file__).resolve().parent.parent / "onnx_gapmil"
#: Letters of its own below which a message is made elsewhere, and only handed on.
_FEWEST = 8


@dataclass(frozen=True, order=True)
class Message:
    """One message.

    Attributes:
        kind: the code that ``--json`` gives, ``model`` of a `ModelError`, say; of a refusal its code.
        text: with ``…`` for what a run puts in.
        module: where it is made, within the package.
    """

    kind: str
    text: str
    module: str


def kinds() -> dict[str, type[GapmilError]]:
    """The code that ``--json`` gives for each error, and the error's class."""
    found, waiting = dict[str, type[GapmilError]](), [GapmilError]
    while waiting:
        error = waiting.pop(0)
        found[error.__name__.removesuffix("Error").lower()] = error
        waiting.extend(error.__subclasses__())
    return found


def errors() -> list[Message]:
    """Of every error that is made by name, sorted by kind and text."""
    names = {error.__name__: kind for kind, error in kinds().items()}
    found = set()
    for call, module in _calls():
        kind = names.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if kind is not None and call.args:
            found.add(Message(kind, _text(call.args[0]), module))
    return sorted(message for message in found if _says_something(message.text))


def refusals() -> list[Message]:
    """Of every refusal that a rule spells, sorted by code and text."""
    found = set()
    for call, module in _calls():
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        codes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and arg.value in ADVICE]
        if "refus" in name.lower() and codes and len(call.args) > 1:
            found.add(Message(str(codes[0]), _text(call.args[-1]), module))
    return sorted(message for message in found if _says_something(message.text))


def messages_page() -> str:
    """All of them in Markdown: a section for each kind of error, then one for each code of refusal."""
    lines = list[str]()
    for title, found in (("error", errors()), ("refusal", refusals())):
        for kind in dict.fromkeys(message.kind for message in found):
            lines += ["", f"## {title}: `{kind}`", ""]
            texts = dict.fromkeys(message.text for message in found if message.kind == kind)
            lines += [f"- `` {' '.join(text.split())} ``" for text in texts]
    return "\n".join(lines)


@functools.cache
def _calls() -> tuple[tuple[ast.Call, str], ...]:
    return tuple(
        (node, path.relative_to(PACKAGE).with_suffix("").as_posix())
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
    )


def _says_something(text: str) -> bool:
    return sum(letter.isalpha() for letter in text) >= _FEWEST


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "…"


def main() -> None:
    """Print them all."""
    for message in [*errors(), *refusals()]:
        print(f"{message.kind}: {message.text}")


if __name__ == "__main__":
    main()
