"""Second names of operators."""

from __future__ import annotations

from magicmind.frontends.pytorch.importers import IMPORTERS, aten

_ALIASES = {
    "abs": "absolute", "neg": "negative", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh",
    "atan": "arctan", "atanh": "arctanh", "transpose": "swapdims", "movedim": "moveaxis", "sigmoid": "special_expit",
    "erf": "special_erf", "softmax": "special_softmax", "log_softmax": "special_log_softmax",
    "logsumexp": "special_logsumexp", "log1p": "special_log1p", "expm1": "special_expm1", "exp2": "special_exp2",
    "round": "special_round", "split": "unsafe_split_with_sizes",
}  # fmt: skip


def register() -> None:
    """Adds the names, once all importers are there."""
    for name, alias in _ALIASES.items():
        aten(alias)(IMPORTERS[f"aten::{name}"])
