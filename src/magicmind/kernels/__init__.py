"""Families of kernels: frozen specs that each emit one function."""
