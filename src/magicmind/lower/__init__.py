"""From the graph to a plan and its code, for one target."""

# Operators import `Lowering` and lowering imports their registry: they are first, whichever is asked for.
import magicmind.ops  # noqa: F401
