"""Convolution: `direct` (dense, grouped, pointwise, first layer), `depthwise`, `winograd`; `choose` picks one."""
