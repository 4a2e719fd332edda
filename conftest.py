"""For all tests: compiled kernels are kept in the project's own folder, away from the user's."""

import os
from pathlib import Path

os.environ.setdefault("MAGICMIND_CACHE_DIR", str(Path(__file__).parent / "out" / "test-cache"))
