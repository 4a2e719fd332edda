"""Helpers of the MagicMind-compatible API."""
