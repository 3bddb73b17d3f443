"""mmstream: streaming speech and vision to text, from a laptop microphone to a Ray cluster."""

__version__ = "0.1.0"
