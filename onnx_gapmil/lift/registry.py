"""The registry of lift rules, keyed by operator. Adding an operator is adding one function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting

    Rule = Callable[[gs.Node, "Lifting"], "Lifted"]

_RULES: dict[tuple[str, str], Rule] = {}


def rule(*operators: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a lift rule for some operators.

    A rule gets the node that makes a pooled tensor ``t`` and returns its lift: a tensor on the grid whose mean over
    cells is ``t``. It asks the `Lifting` for the lifts of the node's inputs, or refuses.
    """

    def register(function: Rule) -> Rule:
        for operator in operators:
            if (domain, operator) in _RULES:
                raise ValueError(f"two lift rules for {domain}::{operator}")
            _RULES[domain, operator] = function
        return function

    return register


def find_rule(domain: str, operator: str) -> Rule | None:
    """The rule for an operator, if there is one; ``ai.onnx`` is the default domain's other name."""
    return _RULES.get(("" if domain == "ai.onnx" else domain, operator))


def known_operators() -> list[str]:
    """Operators that have a rule, sorted, contrib ones with their domain."""
    return sorted(f"{domain}::{operator}" if domain else operator for domain, operator in _RULES)
