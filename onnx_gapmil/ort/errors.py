"""Turn ONNX Runtime's exceptions into one sentence that its reader can act on."""

from __future__ import annotations

import re
from collections.abc import Callable

from onnx_gapmil.errors import ModelError
from onnx_gapmil.ort.quiet import onnxruntime_module

_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : (?:\d(?=[A-Z]))?")
_SOURCE_PLACE = re.compile(r"(?:\S*/)?[\w.-]+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ ")
_MAX_LENGTH = 400


def readable(error: BaseException) -> str:
    """Return the first useful line of an ONNX Runtime message: no error number, C++ path or C++ signature."""
    text = _PREFIX.sub("", str(error)).strip()
    while match := _SOURCE_PLACE.search(text):
        text = text[: match.start()] + _after_signature(text[match.end() :])
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)
    return line if len(line) <= _MAX_LENGTH else line[: _MAX_LENGTH - 3] + "..."


def _after_signature(text: str) -> str:
    """Drop a C++ function at the start of `text`: `void ns::F(const T&, int) message` or `F message`."""
    opening = text.find("(")
    head = text[:opening] if opening >= 0 else ""
    if "::" in head or (head and " " not in head):
        depth = 0
        for index, character in enumerate(text[opening:], opening):
            depth += (character == "(") - (character == ")")
            if depth == 0 and text[index + 1 : index + 2] != "(":  # operator()(...) has two pairs
                return re.sub(r"^\s*(?:const\b)?(?:\s*\[with [^\]]*\])?\s*", "", text[index + 1 :])
    name = re.match(r"[A-Z]\w*[a-z][A-Z]\w* ", text)
    return text[name.end() :] if name else text


def _runtime() -> str:
    return f"ONNX Runtime {onnxruntime_module().__version__}"


def _newer_opset(match: re.Match[str]) -> str:
    found, domain, most = match.groups()
    return (
        f"it uses opset {found} of {domain}, and {_runtime()} runs opset {most} at most; upgrade "
        f"onnxruntime, or export the model with opset {most} or lower"
    )


def _newer_ir(match: re.Match[str]) -> str:
    found, most = match.groups()
    return (
        f"it has IR version {found}, and {_runtime()} reads IR version {most} at most; upgrade onnxruntime, "
        f"or save the model with ir_version {most} or lower"
    )


def _unknown_operator(match: re.Match[str]) -> str:
    return (
        f"its operator {match.group(1)} is not one of ONNX Runtime's; libraries of custom operators are "
        "never loaded, because they run code: export the model with standard operators"
    )


def _no_kernel(match: re.Match[str]) -> str:
    operator, version, node = match.groups()
    which = f"node {node!r}" if node else "an unnamed node"
    return (
        f"ONNX Runtime has no kernel for {operator} (opset {version}) with the types of {which}; "
        "another provider or a float32 export may have one"
    )


_KNOWN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)", re.S),
        _newer_opset,
    ),
    (re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"), _newer_ir),
    (re.compile(r"No Op registered for (\S+) with domain_version"), _unknown_operator),
    (re.compile(r"(\S+?)\(-?\d+\) is not a registered function/op"), _unknown_operator),
    (re.compile(r"Could not find an implementation for (\w+)\((\d+)\) node with name '([^']*)'"), _no_kernel),
    (
        re.compile(r"protobuf parsing failed|No graph was found in the protobuf"),
        lambda _: "it is not an ONNX file, or it is cut off or damaged",
    ),
)


def explain(error: BaseException) -> str:
    """Return one sentence, without its full stop, on what ONNX Runtime has against a model."""
    text = str(error)
    for pattern, sentence in _KNOWN:
        if match := pattern.search(text):
            return sentence(match)
    return readable(error).rstrip(".")


def load_error(error: BaseException, what: str) -> ModelError:
    """Build the error for a model that ONNX Runtime refuses; `what` names the model."""
    return ModelError(f"{what} cannot be run: {explain(error)}.")


def run_error(error: BaseException, what: str) -> ModelError:
    """Build the error for a run that failed; `what` names the model and the batch."""
    return ModelError(f"{what} failed: {explain(error)}.")
