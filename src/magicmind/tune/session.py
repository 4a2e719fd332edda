"""From a network and a target to the chooser its final build uses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import onnx_ir as ir

from magicmind.codegen.target import Target
from magicmind.lower.choice import Chooser
from magicmind.lower.lowering import Lowering
from magicmind.modelfile.parts import ModelParts, WeightStore
from magicmind.runtime.model import Model, from_parts
from magicmind.tune.bench import Bench
from magicmind.tune.log import Log
from magicmind.tune.machine import check_runnable, identity
from magicmind.tune.picks import Picks
from magicmind.tune.sizes import Sizes, random_feeds, usual_sizes
from magicmind.tune.tuner import Report, Tuner

_log = logging.getLogger(__name__)


Compile = Callable[[Target, Chooser], ModelParts]


def tuned_choices(
    model: ir.Model, targets: Sequence[Target], compile_parts: Compile, seconds: float, report: Report
) -> list[Picks]:
    """For every target the picks for a network that is ready to be lowered; `compile_parts` builds it for one of them.

    Raises TargetError when this machine cannot run a target's code, Error when the network cannot be measured.
    """
    for target in targets:
        check_runnable(target)
    return [_tuned(model, target, compile_parts, seconds / len(targets), report) for target in targets]


def _tuned(model: ir.Model, target: Target, compile_parts: Compile, seconds: float, report: Report) -> Picks:
    sizes = usual_sizes(model)
    at = _described(sizes)
    listing = Picks(at=at)
    Lowering(model, target, WeightStore(), chooser=listing).run()

    def build(chooser: Picks) -> Model:
        return from_parts(compile_parts(target, chooser))

    log = Log.of(identity(target))
    bench = Bench(build, [(each, random_feeds(model, each)) for each in sizes], target.threads, at)
    tuning = Tuner(bench, listing.candidates, log, seconds, report).run()
    _log.info("%s: %d candidates measured, %d picks, %s", target.name, tuning.measured, len(tuning.picks), log.path)
    return Picks(tuning.picks, at)


def _described(sizes: list[Sizes]) -> str:
    """The end of every key: which values of run-time dims were measured."""
    texts = [",".join(f"{name}={value}" for name, value in sorted(each.items())) for each in sizes]
    return f" at {';'.join(texts)}" if any(texts) else ""
