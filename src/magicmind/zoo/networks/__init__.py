"""The networks of the samples as we write them: their files with random weights, their definitions for checkpoints."""
