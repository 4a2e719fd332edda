"""Rewrites of the graph, one per file; `pipeline.py` is the ordered list."""
