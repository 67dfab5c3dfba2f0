"""Tables of lift rules, keyed by operator: values that are handed to a walk. Nothing is registered anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    import onnx_graphsurgeon as gs

    from onnx_gapmil.lift.lifted import Lifted
    from onnx_gapmil.lift.lifting import Lifting, Rule


@dataclass(frozen=True)
class LiftRule:
    """A lift rule and the operators that it is for; called like the function itself.

    Attributes:
        operators: (domain, operator type) of each; "" is ONNX's own domain.
        function: gets the node that makes a pooled tensor ``t`` and returns its lift, a tensor on the grid whose mean
            over cells is ``t``. It asks the walk for the lifts of the node's inputs, or refuses.
    """

    operators: tuple[tuple[str, str], ...]
    function: Rule

    def __call__(self, node: gs.Node, walk: Lifting) -> Lifted:
        """The lift of the tensor that a node makes."""
        return self.function(node, walk)


def rule(*operators: str, domain: str = "") -> Callable[[Rule], LiftRule]:
    """Mark a function as the lift rule of some operators; marked twice, it is the rule of both lists.

    Args:
        operators: operator types.
        domain: their domain.
    """
    marked = tuple((domain, operator) for operator in operators)

    def mark(function: Rule) -> LiftRule:
        if isinstance(function, LiftRule):
            return LiftRule(marked + function.operators, function.function)
        return LiftRule(marked, function)

    return mark


def rule_table(rules: Iterable[LiftRule]) -> MappingProxyType[tuple[str, str], Rule]:
    """The table of some rules, which cannot be changed; ``table | rule_table([another])`` makes a larger one.

    Raises:
        ValueError: two of them are for one operator.
    """
    table: dict[tuple[str, str], Rule] = {}
    for entry in rules:
        for domain, operator in entry.operators:
            if (domain, operator) in table:
                raise ValueError(f"two lift rules for {domain}::{operator}")
            table[domain, operator] = entry.function
    return MappingProxyType(table)


def rules_in(module: ModuleType) -> list[LiftRule]:
    """The rules that a module defines; those that it imports belong to another."""
    found = [value for value in vars(module).values() if isinstance(value, LiftRule)]
    return [entry for entry in found if entry.function.__module__ == module.__name__]
