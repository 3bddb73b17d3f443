"""What a sweep found, as tables for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmstream import __version__
from mmstream.evaluation.cells import VIDEO_SNRS_DB, by_missing_video, by_offset, by_snr
from mmstream.evaluation.conditions import Clip, Condition, Disturbance
from mmstream.evaluation.normalise import normalise
from mmstream.evaluation.stage import Found
from mmstream.evaluation.wer import ErrorRates, error_rates

SLACK = 0.005  # WER by which audio-visual may lie above audio alone: half a point

_GRID_GRAMMAR = (
    "bin lay place set".split(),
    "blue green red white".split(),
    "at by in with".split(),
    "a b c d e f g h i j k l m n o p q r s t u v x y z".split(),
    "zero one two three four five six seven eight nine".split(),
    "again now please soon".split(),
)
GRID_CAPTION = (
    "GRID corpus: a closed grammar (command, colour, preposition, letter, digit, adverb), so these rates say nothing "
    "about open speech."
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition over the whole manifest."""

    condition: Condition
    rates: ErrorRates
    video: float | None  # 0..1, over all words


@dataclass(frozen=True)
class Report:
    """A sweep, in the order of its grid."""

    model: str
    manifest: Path
    noise: Path | None
    seed: int
    media: tuple[str, ...]
    clips: int
    closed_grammar: bool
    cells: Mapping[Condition, Cell]

    @classmethod
    def of(
        cls,
        model: str,
        manifest: Path,
        clips: Sequence[Clip],
        disturbance: Disturbance,
        media: Collection[str],
        found: Mapping[str, Mapping[Condition, Found]],
    ) -> Report:
        """The rates of every condition. ``found``: by the name of the clip."""
        texts = [clip.entry.text for clip in clips]
        cells = {}
        for condition in found[clips[0].name]:
            given = [found[clip.name][condition] for clip in clips]
            shares = [share for one in given for share in one.video]
            video = sum(shares) / len(shares) if shares else None
            cells[condition] = Cell(condition, error_rates(texts, [one.text for one in given]), video)
        noise, seed = disturbance.noise, disturbance.seed
        closed = all(follows_grid(text) for text in texts)
        return cls(model, manifest, noise, seed, tuple(media), len(clips), closed, cells)

    @property
    def caption(self) -> str:
        """One line for every table and plot."""
        words = next(iter(self.cells.values())).rates.words
        said = f"{self.model} on {self.manifest.name}: {self.clips} clips, {words} words. Intervals: 95%, bootstrap."
        return f"{said} {GRID_CAPTION}" if self.closed_grammar else said

    def sound_alone(self, cell: Cell) -> Cell:
        """The cell of the same noise without video."""
        return self.cells[Condition("audio", cell.condition.snr_db)]

    def holds(self, cell: Cell) -> bool:
        """Whether video did not hurt: WER at most half a point above that of sound alone."""
        return cell.rates.wer <= self.sound_alone(cell).rates.wer + SLACK + 1e-9

    def rows(self, conditions: Sequence[Condition]) -> Iterator[Cell]:
        return (self.cells[condition] for condition in conditions if condition in self.cells)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "manifest": str(self.manifest),
            "noise": None if self.noise is None else str(self.noise),
            "seed": self.seed,
            "version": __version__,
            "closed_grammar": self.closed_grammar,
            "cells": [self._cell_to_json(cell) for cell in self.cells.values()],
        }

    def _cell_to_json(self, cell: Cell) -> dict[str, Any]:
        figures = asdict(cell.rates) | {"wer_ci": list(cell.rates.wer_ci)}
        told = {**cell.condition.to_json(), **figures, "video": cell.video}
        return told | ({"video_never_hurts": self.holds(cell)} if cell.condition.modality == "av" else {})

    def summary(self) -> dict[str, Any]:
        """The figures that a sweep is judged by."""
        told: dict[str, Any] = {"model": self.model, "clips": self.clips, "cells": len(self.cells)}
        for name, condition in (
            ("audio", Condition("audio")),
            ("video", Condition("video")),
            ("av", Condition("av")),
            ("audio_0db", Condition("audio", 0.0)),
            ("av_0db", Condition("av", 0.0)),
        ):
            if condition in self.cells:
                told[f"wer_{name}"] = self.cells[condition].rates.wer
        seen = [cell for cell in self.cells.values() if cell.condition.modality == "av"]
        if seen:
            told["av_cells"] = len(seen)
            told["av_cells_where_video_hurts"] = sum(not self.holds(cell) for cell in seen)
        return told


def markdown(report: Report) -> str:
    """The tables. Rates in percent."""
    noise = report.noise.name if report.noise is not None else "none"
    parts = [f"# WER of {report.model} by noise" + (", missing video and offset" if "video" in report.media else "")]
    parts += [report.caption, f"Noise: {noise}, seed {report.seed}, mmstream {__version__}. WER in percent [95%]."]
    parts.append("\n".join(["## By noise", "", *_by_snr(report)]))
    if "video" in report.media:
        parts.append(
            "Mouths are found once, in each clip as recorded, and then lost or shifted. *video* is the mean share of "
            "video in a word; *holds* says whether AV <= audio + 0.5 points at the same noise. *all*: so large a "
            "share of the clips loses its whole video."
        )
        parts.append("\n".join(["## By missing video", "", *_rows(report, by_missing_video(), _missing)]))
        parts.append("\n".join(["## By offset of video against sound", "", *_rows(report, by_offset(), _late)]))
    return "\n\n".join(parts) + "\n"


def _by_snr(report: Report) -> Iterator[str]:
    looks = "video" in report.media
    names = ["noise", "audio", *(["video", "AV", "video in AV", "AV - audio", "holds"] if looks else [])]
    yield from _head(names)
    for cell in report.rows([one for one in by_snr(report.media) if one.modality == "audio"]):
        row = [snr(cell.condition.snr_db), rate(cell)]
        if looks:
            both = report.cells[replace(cell.condition, modality="av")]
            row += [rate(report.cells[Condition("video")]), rate(both), *_compared(report, both)]
        yield _line(row)


def _rows(report: Report, conditions: Sequence[Condition], names: Any) -> Iterator[str]:
    """A table of audio-visual cells; ``names(condition)`` gives the headed columns that tell them apart."""
    yield from _head(["noise", *names(conditions[0]), "AV", "video", "AV - audio", "holds"])
    for level in VIDEO_SNRS_DB:
        for cell in report.rows([one for one in conditions if one.snr_db == level]):
            told = names(cell.condition).values()
            yield _line([snr(level), *told, rate(cell), *_compared(report, cell)])


def _missing(condition: Condition) -> dict[str, str]:
    return {"lost": condition.drop_kind, "share": f"{100 * condition.drop_video:.0f}%"}


def _late(condition: Condition) -> dict[str, str]:
    return {"video late by": f"{condition.av_offset_ms:+.0f} ms"}


def _compared(report: Report, cell: Cell) -> list[str]:
    points = 100 * (cell.rates.wer - report.sound_alone(cell).rates.wer)
    share = "-" if cell.video is None else f"{cell.video:.2f}"
    return [share, f"{points:+.1f}", "yes" if report.holds(cell) else "**no**"]


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rate(cell: Cell) -> str:
    """WER with its interval, in percent."""
    low, high = cell.rates.wer_ci
    return f"{100 * cell.rates.wer:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def snr(level_db: float | None) -> str:
    return "clean" if level_db is None else f"{level_db:g} dB"


def follows_grid(text: str) -> bool:
    """Whether a text is made of sentences of the GRID corpus."""
    words = normalise(text).split()
    length = len(_GRID_GRAMMAR)
    return (
        bool(words)
        and not len(words) % length
        and all(word in _GRID_GRAMMAR[place % length] for place, word in enumerate(words))
    )
