"""Which operators of users' own (magicmind/plugin.py) a plan calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magicmind.modelfile.abi import PLUGIN


def plugins_of(plan: Mapping[str, Any]) -> list[str]:
    """`domain.Name` of each, those in nested graphs included."""
    steps = [step for each in (plan, *plan.get("bodies", ())) for step in each["steps"]]
    functions = {str(step["host"]["function"]) for step in steps if "host" in step}
    return sorted(name.removeprefix(PLUGIN) for name in functions if name.startswith(PLUGIN))
