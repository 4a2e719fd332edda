"""For all tests: compiled kernels are kept in the project's own folder, away from the user's, and Ctrl-C interrupts."""

import os
import signal
from pathlib import Path

os.environ.setdefault("MAGICMIND_CACHE_DIR", str(Path(__file__).parent / "out" / "test-cache"))

# A shell lets what it starts in the background ignore the signal, which children inherit: some tests send it to them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
