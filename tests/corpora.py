"""Made-up recordings for tests of training: words that can be told apart by ear, and mouths that move with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmstream.training.corpus import CROP, SAMPLE_RATE, SAMPLES_PER_STEP, Corpus

WORDS = {"one": 300.0, "two": 700.0, "three": 1300.0, "four": 2300.0}  # and the tone that each one is, Hz
WORD_STEPS, PAUSE_STEPS = 8, 5


def said(texts: list[str], rng: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.uint8], list[list[object]]]:
    """Sound, crops and timed words."""
    steps = PAUSE_STEPS + len(texts) * (WORD_STEPS + PAUSE_STEPS)
    wave = rng.standard_normal(steps * SAMPLES_PER_STEP) * 0.002
    crops = np.full((steps, CROP, CROP), 90, np.uint8) + rng.integers(0, 8, (steps, CROP, CROP), dtype=np.uint8)
    words: list[list[object]] = []
    for k, text in enumerate(texts):
        at = PAUSE_STEPS + k * (WORD_STEPS + PAUSE_STEPS)
        time = np.arange(WORD_STEPS * SAMPLES_PER_STEP) / SAMPLE_RATE
        wave[at * SAMPLES_PER_STEP :][: len(time)] += 0.2 * np.sin(2 * np.pi * WORDS[text] * time)
        opening = 4 + 6 * list(WORDS).index(text)
        crops[at : at + WORD_STEPS, 32 - opening : 32 + opening, 16:48] = 20
        words.append([text, at * 0.04, (at + WORD_STEPS) * 0.04])
    return np.round(wave * 32767).astype(np.int16), crops, words


def made_corpus(folder: Path, clips: int, *, video: bool, seed: int = 0) -> Corpus:
    """A cached corpus of ``clips`` sentences of two to three words; no two have the same text."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    texts: dict[str, list[str]] = {}
    while len(texts) < clips:
        words = [str(word) for word in rng.choice(list(WORDS), int(rng.integers(2, 4)))]
        texts[" ".join(words)] = words
    audio_at = video_at = 0
    sounds, pictures, lines = [], [], []
    for text, spoken in texts.items():
        wave, crops, words = said(spoken, rng)
        count = len(crops) if video else 0
        lines.append(
            {"text": text, "words": words, "audio_at": audio_at, "samples": len(wave), "video_at": video_at,
             "crops": count}
        )  # fmt: skip
        sounds.append(wave)
        pictures.append(crops[:count])
        audio_at, video_at = audio_at + len(wave), video_at + count
    np.concatenate(sounds).tofile(folder / "audio.i16")
    np.concatenate(pictures).tofile(folder / "crops.u8")
    np.ones(video_at, np.float32).tofile(folder / "quality.f32")
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Corpus(folder)
