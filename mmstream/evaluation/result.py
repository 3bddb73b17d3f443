"""What an evaluation found, in the form that is printed for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mmstream.evaluation.latency import Latency
from mmstream.evaluation.wer import ErrorRates


@dataclass(frozen=True)
class Result:
    """Figures of one model over one manifest."""

    rates: ErrorRates
    rtf: float  # seconds of computing per second of audio
    video: float | None = None  # 0..1: how far video contributed to the words, on average; None: no word
    latency: Latency | None = None  # of a run in real time

    def to_json(self) -> dict[str, Any]:
        """``wer``, ``wer_ci``, ``cer`` (fractions), ``words``, ``utterances``, ``rtf``, ``video``; in real time also
        the fields of ``Latency``, each p50, p90 and p99 in milliseconds. Null where no word came out.
        """
        figures: dict[str, Any] = asdict(self.rates)
        figures |= {"wer_ci": list(self.rates.wer_ci), "rtf": round(self.rtf, 4)}
        figures["video"] = None if self.video is None else round(self.video, 3)
        if self.latency is not None:
            figures |= asdict(self.latency)
        return figures
