"""Class tokens in further spellings: orders of tokens, letters of an Einsum, shared keys, kinds of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_gapmil.lift.tokens.modes import ClassTokenMode
from tests.lift.test_class_tokens import answers
from tests.references.class_token_spellings import PLAIN, Spelled

#: Registers behind the two rows of three patches.
BEHIND = (0, 3, 4, 5, 6, 7, 8, 1, 2)
LAST = (1, 2, 3, 4, 5, 6, 0)
ORDERS: dict[str, dict[str, Any]] = {
    "registers behind the patches": {"registers": 2, "order": BEHIND},
    "registers around them": {"registers": 2, "order": (1, 0, 3, 4, 5, 6, 7, 8, 2)},
    "the class token amid registers": {"registers": 3, "order": (1, 2, 0, 3, 4, 5, 6, 7, 8, 9)},
    "the class token last": {"order": LAST},
    "registers first, the class token last": {"registers": 2, "order": (1, 2, 3, 4, 5, 6, 7, 8, 0)},
}
LETTERS: dict[str, dict[str, Any]] = {
    "CvT's": {"einsum": PLAIN},
    "Flax's": {"einsum": ("bihd,bjhd->bhij", "bhij,bjhd->bihd")},
    "Keras's": {
        "einsum": ("bjhd,bihd->bhij", "bhij,bjhd->bihd"),
        "dense": ("btc,chd->bthd", "bihd,hdc->bic"),
    },
    "keys before queries": {"einsum": ("bhjd,bhid->bhji", "bhji,bhjd->bhid")},
    "values before weights": {"einsum": ("bhjd,bhid->bhij", "bhjd,bhij->bhid")},
    "channels before tokens": {"einsum": ("bhdi,bhdj->bhij", "bhij,bhdj->bhdi")},
    "heads last": {"einsum": ("bidh,bjdh->bijh", "bijh,bjdh->bidh"), "batch": 1},
    "weights first": {"dense": ("dch,btc->btdh", "chd,bihd->bic"), "heads": 4},
    "a mask by letters": {"einsum": ("bhjd,bhid->bhji", "bhji,bhjd->bhid"), "mask": "where"},
}
SHARED: dict[str, dict[str, Any]] = {
    **{word: {"heads": 4, "shared": 2, "repeats": word} for word in ("expand", "tile", "gather", "broadcast")},
    "by letters": {"heads": 4, "shared": 2, "einsum": PLAIN},
    "ONNX's own": {"heads": 4, "shared": 2, "repeats": "standard"},
    "ONNX Runtime's": {"heads": 4, "shared": 2, "repeats": "grouped", "batch": 2, "width": 32},
    "ONNX Runtime's, packed": {"heads": 4, "shared": 2, "repeats": "packed", "batch": 2, "width": 32},
    "ONNX Runtime's, causal": {
        "heads": 2,
        "repeats": "grouped",
        "width": 16,
        "batch": 1,
        "mask": "causal",
        "order": LAST,
    },
    "one for all": {"heads": 4, "shared": 4},
}
MASKS: dict[str, dict[str, Any]] = {
    "where": {"mask": "where"},
    "added, infinite": {"mask": "infinite"},
    "of the shape": {"mask": "shapes"},
    "ONNX's own, truth values": {"repeats": "standard", "mask": "truth"},
    "ONNX's own, infinite": {"repeats": "standard", "mask": "infinite", "batch": 1},
    "ONNX's own, causal": {"repeats": "standard", "mask": "causal", "order": LAST},
    "ONNX Runtime's, of keys": {"qkv": "MultiHeadAttention", "mask": "keys", "batch": 2},
    "ONNX Runtime's fused, of keys": {"qkv": "Attention", "mask": "keys", "batch": 2},
    "ONNX Runtime's, causal": {"qkv": "MultiHeadAttention", "mask": "causal", "order": LAST},
    "ONNX Runtime's fused, causal": {"qkv": "Attention", "mask": "causal", "order": LAST},
}
SPELLINGS = {
    f"{kind}: {name}": given
    for kind, all_ in (("tokens", ORDERS), ("letters", LETTERS), ("shared keys", SHARED), ("mask", MASKS))
    for name, given in all_.items()
}


def _both(names: list[str]) -> list[tuple[str, ClassTokenMode]]:
    """Each with one of the modes, in turn: they differ behind attentions, which is where these do not."""
    modes: tuple[ClassTokenMode, ...] = ("direct", "through")
    return [(name, modes[place % 2]) for place, name in enumerate(names)]


@pytest.mark.parametrize(("spelling", "mode"), _both(list(SPELLINGS)))
def test_grid_is_the_decomposition(spelling: str, mode: ClassTokenMode) -> None:
    got, expected = answers(Spelled(**SPELLINGS[spelling]), mode)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= 3e-5 * np.abs(theirs).max()
