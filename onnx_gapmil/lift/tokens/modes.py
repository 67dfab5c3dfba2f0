"""How far the lift of a class token goes."""

from __future__ import annotations

from typing import Literal, get_args

from onnx_gapmil.errors import InputError

#: ``direct``: what each attention brings, as it reaches the head by layers that are linear. ``through``: beside that,
#: as it goes through the MLPs behind it, by their slopes.
ClassTokenMode = Literal["direct", "through"]
#: What a user asks for; ``auto`` is the one that measured better (docs/class-tokens.md).
ClassTokenWish = Literal["auto", "direct", "through"]
WISHES: tuple[str, ...] = get_args(ClassTokenWish)
AUTO: ClassTokenMode = "through"
#: Said where the option is given for a model that has none.
CHANGES_NOTHING = "no lifted head reads a class token, so that --class-token changes nothing"
#: Said where the option is given for a file that was rewritten.
RECORD_DECIDES = "a rewritten file's record says how its class token is lifted, so that --class-token changes nothing"


def mode_of(wish: ClassTokenWish | str | None) -> ClassTokenMode | None:
    """The mode that a wish means; None where class tokens are refused.

    Raises:
        InputError: it is none.
    """
    if wish is None:
        return None
    if wish not in WISHES:
        raise InputError(f"class_token={wish!r} is none of {', '.join(WISHES)}.")
    return AUTO if wish == "auto" else "direct" if wish == "direct" else "through"
