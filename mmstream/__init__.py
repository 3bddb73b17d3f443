"""mmstream: streaming speech and vision to text, from a laptop microphone to a Ray cluster."""

import os

__version__ = "0.1.0"

# Intel's MKL, inside torch, else rounds a product by how many rows it has, so that a session's words would depend on
# who shares a call with it. It looks once, at its first call; elsewhere than on Intel's processors it does not care.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")
