"""MagicMind for CPUs."""
