"""Precision: which layer computes in what, calibration, scales, and the places where a graph is quantised."""
