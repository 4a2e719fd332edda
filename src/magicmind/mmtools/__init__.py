"""`mm_build` and `mm_run` with MagicMind's flags and print-outs, over our own build and run time."""
