from __future__ import annotations

import os
import time

from magicmind.testing.worker import Verdict, Worker


def _job(text: str) -> Verdict:
    if text == "die":
        os._exit(7)
    if text == "hang":
        time.sleep(60)
    return Verdict("passed", text)


def test_crashes_and_hangs_cost_one_job_each() -> None:
    worker = Worker(_job, 0.5)
    try:
        found = [worker.run(text) for text in ("a", "die", "b", "hang", "c")]
    finally:
        worker.stop()
    assert [v.status for v in found] == ["passed", "crashed", "passed", "timeout", "passed"]
    assert found[1].reason == "the process ended with code 7"
