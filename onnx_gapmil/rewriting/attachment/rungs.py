"""The rungs of the ladder: how much is done so that the vendor's outputs stay what they are as deployed."""

from __future__ import annotations

from typing import Literal, get_args

#: ``plain``: new nodes read maps, constants and logits alone. ``named``: beside that, logits that are an output of the
#: vendor's are that output, and nothing of ours reads it. ``shadow``: beside that, nothing of ours reads int8
#: activations; the part of the trunk that makes a map is repeated.
Attachment = Literal["plain", "named", "shadow"]
RUNGS: tuple[Attachment, ...] = get_args(Attachment)
