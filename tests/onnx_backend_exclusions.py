"""Cases of the ONNX backend suite that do not have to pass, each with the reason. The only such list.

Operators that have no implementation yet are not listed: their cases end as "unsupported" and are counted as that.
"""

from __future__ import annotations

import re

EXCLUSIONS: dict[str, str] = {}
"""Regular expressions on whole names such as `node/test_abs`, and why."""


def reason_to_exclude(name: str) -> str:
    """Why this case is left out; an empty text when it is not."""
    return next((reason for pattern, reason in EXCLUSIONS.items() if re.fullmatch(pattern, name)), "")
