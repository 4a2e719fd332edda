"""Measured choice of schedules: `build(..., tune=seconds)`. How and why: docs/design/0007-tuning.md.

Stands above the compiler's stages and the run time: it builds variants of a network and runs them.
"""
