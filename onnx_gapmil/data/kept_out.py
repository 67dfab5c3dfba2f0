"""What of a data set is left out: counted by reason, the first ones named."""

from __future__ import annotations

from onnx_gapmil.files.wording import are

_NAMED = 3
TORN = "torn end of a shard"
_PLURALS = {TORN: "torn ends of shards"}


class KeptOut:
    """Rows, samples, members and shards that cannot be used, while a data set is read."""

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], list[str]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, what: str, why: str, name: str) -> None:
        """Note one.

        Args:
            what: it is: ``row``, ``shard``.
            why: a few words, for one and for many: ``label out of range``.
            name: its own, with what is to be said of it alone.
        """
        key = (what, why)
        self._counts[key] = self._counts.get(key, 0) + 1
        named = self._named.setdefault(key, [])
        if len(named) < _NAMED:
            named.append(name)

    def notes(self) -> list[str]:
        """A sentence for each reason."""
        return [
            f"{are(self._counts[what, why], what, _PLURALS.get(what))} left out ({why}): {', '.join(named)}"
            f"{', ...' if self._counts[what, why] > len(named) else ''}."
            for (what, why), named in self._named.items()
        ]
