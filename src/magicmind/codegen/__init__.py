"""Machine code: targets, the vocabulary kernels are written in, LLVM, and the linker."""
