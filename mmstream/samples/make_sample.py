"""Makes the sample again: slides of text, spoken by flite's voice slt, as ``spoken.mp4`` and ``spoken.txt``.

    python -m mmstream.samples.make_sample

It needs the commands flite and ffmpeg (with drawtext) and the font DejaVu Sans. The sentences are ones that
pocketsphinx understands, so that the demo, which has only that recogniser, shows what captions look like.
"""

from __future__ import annotations

import subprocess
import tempfile
import textwrap
import wave
from pathlib import Path

from mmstream.samples import SPOKEN_TEXT, SPOKEN_VIDEO

SENTENCES = (
    "When people speak, the words appear on the screen.",
    "They will never change again.",
    "All of this happens on your own computer.",
    "Nothing is sent to anyone else.",
    "You can read the text in a file.",
    "Thank you for watching.",
)
SAMPLE_RATE = 16_000
PAUSE_S = 0.7  # before each sentence and after the last
LINE_CHARS = 22
COLOURS = ("0x1d3557", "0x2a6f5e", "0x6d3b5e")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        slides = speak(Path(folder))
        draw(Path(folder), slides)
    SPOKEN_TEXT.write_text("\n".join(SENTENCES) + "\n")


def speak(folder: Path) -> list[tuple[float, float]]:
    """Write all sentences into ``speech.wav``; where each one's slide begins and ends, in seconds."""
    pause = bytes(2 * round(PAUSE_S * SAMPLE_RATE))
    speech, slides = b"", []
    for sentence in SENTENCES:
        subprocess.run(["flite", "-voice", "slt", "-t", sentence, "-o", folder / "sentence.wav"], check=True)
        with wave.open(str(folder / "sentence.wav")) as spoken:
            if (spoken.getframerate(), spoken.getnchannels(), spoken.getsampwidth()) != (SAMPLE_RATE, 1, 2):
                raise SystemExit("flite: expected 16 kHz, mono, 16 bit")
            begins = len(speech)
            speech += pause + spoken.readframes(spoken.getnframes())
        slides.append((begins / 2 / SAMPLE_RATE, len(speech) / 2 / SAMPLE_RATE))
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(speech + pause)
    return slides


def draw(folder: Path, slides: list[tuple[float, float]]) -> None:
    """Write the video: a slide for each sentence, its text in the middle, and the sound."""
    ends = slides[-1][1] + PAUSE_S
    filters = []
    for number, ((begins, _), sentence) in enumerate(zip(slides, SENTENCES, strict=True)):
        text = folder / f"slide{number}.txt"
        text.write_text("\n".join(textwrap.wrap(sentence, LINE_CHARS)))
        shown = f"enable='between(t,{begins:.3f},{ends:.3f})'"
        filters.append(f"drawbox=color={COLOURS[number % len(COLOURS)]}:t=fill:{shown}")
        filters.append(
            f"drawtext=font='DejaVu Sans':textfile={text}:fontcolor=white:fontsize=40:line_spacing=14:"
            f"x=(w-text_w)/2:y=(h-text_h)/2:{shown}"
        )
    picture = f"color=size=640x360:rate=25:duration={ends:.3f}"
    command: list[str | Path] = ["ffmpeg", "-loglevel", "error", "-fflags", "+bitexact", "-f", "lavfi", "-i", picture]
    command += ["-i", folder / "speech.wav", "-vf", ",".join(filters), "-shortest", "-map_metadata", "-1"]
    command += ["-c:v", "libx264", "-preset", "veryslow", "-crf", "30", "-pix_fmt", "yuv420p", "-flags:v", "+bitexact"]
    command += ["-c:a", "aac", "-b:a", "64k", "-flags:a", "+bitexact", "-threads", "1", "-movflags", "+faststart"]
    subprocess.run([*command, folder / "spoken.mp4"], check=True)
    SPOKEN_VIDEO.write_bytes((folder / "spoken.mp4").read_bytes())


if __name__ == "__main__":
    main()
