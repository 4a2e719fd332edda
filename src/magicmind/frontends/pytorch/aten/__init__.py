"""Importers of ATen operators, a family to a file; importing this package fills the table."""

from magicmind.frontends.pytorch.aten import (  # noqa: F401  (each adds its importers)
    activation,
    aliases,
    convolution,
    creation,
    decomposed,
    indexing,
    linear,
    normalization,
    pointwise,
    pooling,
    python,
    quantised,
    recurrent,
    reduction,
    resize,
    selection,
    shape,
    spectral,
    vision,
)

aliases.register()
