"""Sentences of GRID's grammar in many synthetic voices, so that a recogniser that has seen one talker hears others.

    python -m mmstream.training.synthetic FOLDER --count 1500

writes one FLAC file a sentence and ``manifest.jsonl``. It needs flite and espeak-ng (Debian packages of these names).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmstream.core import MmstreamError

LETTERS = {  # as they are spelled for a synthesiser to say their names
    "a": "ay", "b": "bee", "c": "see", "d": "dee", "e": "E", "f": "eff", "g": "jee", "h": "aitch", "i": "eye",
    "j": "jay", "k": "kay", "l": "el", "m": "em", "n": "en", "o": "oh", "p": "pee", "q": "cue", "r": "are", "s": "ess",
    "t": "tee", "u": "you", "v": "vee", "x": "ex", "y": "why", "z": "zed",
}  # fmt: skip
GRAMMAR = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple(LETTERS),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
MONO = ("-ar", "16000", "-ac", "1")
FLITE = ("kal16", "awb", "rms", "slt")
ACCENTS = ("en-gb", "en-us", "en-gb-x-rp", "en-gb-scotland")
TIMBRES = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 Annie Denis Lee Michael steph belinda Alicia "
    "anika linda"
).split()


def sentences(count: int, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """``count`` sentences, each with the command that says it on standard output as a wave file."""
    draw = random.Random(seed)
    for k in range(count):
        words = [draw.choice(choices) for choices in GRAMMAR]
        text = " ".join(LETTERS.get(word, word) for word in words)
        if k % 3 == 0:
            stretch = f"duration_stretch={draw.uniform(0.75, 1.1):.2f}"
            yield words, ["flite", "-voice", draw.choice(FLITE), "--setf", stretch, "-t", text, "-o"]
        else:
            voice = f"{draw.choice(ACCENTS)}+{draw.choice(TIMBRES)}"
            speed, pitch = str(draw.randint(150, 230)), str(draw.randint(25, 75))
            yield words, ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, text, "-w"]


def write(folder: Path, count: int, seed: int = 5) -> Path:
    """Speak ``count`` sentences into ``folder``; gives the manifest, which is written last.

    Raises:
        MmstreamError: a synthesiser is missing or fails.
    """
    for program in ("flite", "espeak-ng", "ffmpeg"):
        if shutil.which(program) is None:
            raise MmstreamError(f"{program} is missing: run apt-get install {program}")
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        spoken = f"{scratch}/spoken.wav"
        for k, (words, command) in enumerate(sentences(count, seed)):
            name = f"{k:05d}.flac"
            before, after = draw.randint(100, 600), draw.uniform(0.2, 0.6)
            filters = f"speechnorm=p=0.5,adelay={before}:all=1,apad=pad_dur={after:.2f}"
            _run([*command, spoken])
            _run(["ffmpeg", "-y", "-v", "error", "-i", spoken, "-af", filters, *MONO, str(folder / name)])
            lines.append(json.dumps({"media": name, "text": " ".join(words)}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return manifest


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise MmstreamError(f"{' '.join(command[:3])} failed: {said[-1] if said else f'exit code {done.returncode}'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    try:
        sys.stdout.write(f"{write(given.folder, given.count, given.seed)}\n")
    except MmstreamError as error:
        raise SystemExit(f"mmstream: {error}") from error


if __name__ == "__main__":
    main()
