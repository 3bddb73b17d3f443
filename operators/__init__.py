"""The operators that ship with mmstream; a pipeline file names them as ``operators.MODULE:Class``."""
