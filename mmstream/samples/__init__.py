"""The sample that ``mmstream demo`` captions: a short spoken video and what is said in it."""

from __future__ import annotations

from pathlib import Path

SPOKEN_VIDEO = Path(__file__).parent / "spoken.mp4"  # H.264 640x360, 25 frames a second; AAC, mono, 16 kHz
SPOKEN_TEXT = Path(__file__).parent / "spoken.txt"  # one sentence a line
