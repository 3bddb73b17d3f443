"""One Whisper model, and one pass of it over up to 30 s of sound, of one session or of several at once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError
from mmstream.media import Word

SAMPLE_RATE = 16_000  # Hz
MAX_HINT_TOKENS = 60  # each of prompt and hotwords
MAX_CONTEXT_TOKENS = 96
MAX_NEW_TOKENS = 224  # with the prompt this stays within the 448 that the model takes
NEW_TOKENS_PER_S = 25  # no language needs more; a model that repeats itself is stopped there
NEW_TOKENS_STEP_S = 2  # the length of sound is rounded up to it for that, so that sessions can share a call
MAX_COMPRESSION = 2.4  # text that packs better than this repeats itself
NO_SPEECH_PROBABILITY = 0.6  # above it, and below the next, the model says that nobody speaks
NO_SPEECH_LOGPROB = -1.0
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001

Task = Literal["transcribe", "translate"]
Device = Literal["auto", "cpu", "cuda"]


class Listen(NamedTuple):
    """What one session asks of the model."""

    sound: NDArray[np.float32]  # (time,) at 16 kHz, at most 30 s
    language: str | None  # None asks the model
    context: str  # what was said before


class Heard(NamedTuple):
    """What the model heard."""

    words: list[Word]  # times in seconds from the first sample
    language: str
    probability: float  # of the language


class _Pass:
    """One session's way through the model."""

    def __init__(self, asked: Listen, features: NDArray[np.float32], context: list[int]) -> None:
        self.features = features  # (mel, time)
        self.seconds = len(asked.sound) / SAMPLE_RATE
        self.language, self.probability = asked.language, 1.0
        self.context = context
        self.tokens: list[int] = []  # of the text, timestamps among them

    @property
    def new_tokens(self) -> int:
        """How many tokens may come at most."""
        rounded_s = NEW_TOKENS_STEP_S * math.ceil(self.seconds / NEW_TOKENS_STEP_S)
        return min(MAX_NEW_TOKENS, 20 + NEW_TOKENS_PER_S * rounded_s)


class WhisperModel:
    """A Whisper model in CTranslate2's format. Deterministic: temperature 0, no fallback to sampling.

    A pass runs the encoder once and the decoder once, or twice where the first attempt repeats itself, so it costs
    the same however long the stream is. Sessions share calls where CTranslate2 can: where their prompts have the same
    length and their sound allows the same number of tokens. What each hears does not depend on that.

    Errors: ValueError naming the legal values; MmstreamError where the model or a package is missing.
    """

    def __init__(
        self,
        model: str,
        language: str | None,
        task: Task,
        prompt: str | None,
        hotwords: str | None,
        beam_size: int,
        compute_type: str,
        device: Device,
        threads: int,
    ) -> None:
        self._model = _load(model, device, compute_type, threads)
        legal = self._model.supported_languages
        if language is not None and language not in legal:
            raise ValueError(f"language {language!r} is none of those of {model}: {', '.join(legal)}")
        if task == "translate" and not self._model.model.is_multilingual:
            raise ValueError(f"task 'translate' needs a multilingual model, and {model} knows English only")
        self.language = language if self._model.model.is_multilingual else "en"
        self.task = task
        self.beam_size = beam_size
        self.hotwords = hotwords
        self._prompt = self._tokens(prompt or "")
        for name, count in (("prompt", len(self._prompt)), ("hotwords", len(self._tokens(hotwords or "")))):
            if count > MAX_HINT_TOKENS:
                raise ValueError(f"{name} has {count} tokens; at most {MAX_HINT_TOKENS} fit")

    def hear(self, asked: Sequence[Listen]) -> list[Heard]:
        """What the model hears in each."""
        passes = []
        for listen in asked:
            features = self._model.feature_extractor(listen.sound)[:, :-1]  # its last frame is padding
            passes.append(_Pass(listen, features, self._tokens(listen.context)[-MAX_CONTEXT_TOKENS:]))
        words: dict[int, list[Word]] = {}
        for group in _alike(passes, lambda one: (one.language is None, len(one.context), one.new_tokens)):
            encoded = self._encode(group)
            if group[0].language is None:
                for one, found in zip(group, self._model.model.detect_language(encoded), strict=True):
                    one.language, one.probability = found[0][0][2:-2], found[0][1]
            self._decode(group, encoded)
            words.update((id(one), timed) for one, timed in self._time(group, encoded))
        return [Heard(words.get(id(one), []), one.language or "", one.probability) for one in passes]

    def _encode(self, group: Sequence[_Pass]) -> Any:
        from faster_whisper.audio import pad_or_trim

        return self._model.encode(np.stack([pad_or_trim(one.features) for one in group]))

    def _decode(self, group: Sequence[_Pass], encoded: Any) -> None:
        """Find the tokens of each; none where nobody speaks or the model only repeats itself."""
        from faster_whisper.transcribe import get_suppressed_tokens

        model = self._model
        prompts = [
            model.get_prompt(self._tokenizer(one), self._prompt + one.context, hotwords=self.hotwords) for one in group
        ]
        new = group[0].new_tokens
        results = model.model.generate(
            encoded,
            prompts,
            beam_size=self.beam_size,
            max_length=max(2 * new, len(prompts[0]) + new),  # CTranslate2 takes half of it at most for new tokens
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=get_suppressed_tokens(self._tokenizer(group[0]), [-1]),
        )
        repeating = [one for one, result in zip(group, results, strict=True) if not self._believed(one, result)]
        if not repeating or not group[0].context:
            return
        for one in repeating:
            one.context = []  # what was said before is what a model likes to repeat
        self._decode(repeating, encoded if len(repeating) == len(group) else self._encode(repeating))

    def _believed(self, one: _Pass, result: Any) -> bool:
        """Take the result's tokens; false where it only repeats itself."""
        from faster_whisper.transcribe import get_compression_ratio

        tokens: list[int] = result.sequences_ids[0]
        logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
        if result.no_speech_prob > NO_SPEECH_PROBABILITY and logprob < NO_SPEECH_LOGPROB:
            return True
        text = self._tokenizer(one).decode(tokens).strip()
        if text and get_compression_ratio(text) > MAX_COMPRESSION:
            return False
        one.tokens = tokens if text else []
        return True

    def _time(self, group: Sequence[_Pass], encoded: Any) -> Iterable[tuple[_Pass, list[Word]]]:
        """The words of each with times from the model's cross-attention, within the sound."""
        speaking = [one for one in group if one.tokens]
        for alike in _alike(speaking, lambda one: one.language):
            tokenizer = self._tokenizer(alike[0])
            texts = [[token for token in one.tokens if token < tokenizer.eot] for one in alike]
            heard = encoded if len(alike) == len(group) else self._encode(alike)
            frames = [one.features.shape[1] for one in alike]
            aligned = self._model.find_alignment(tokenizer, texts, heard, frames)
            for one, alignment in zip(alike, aligned, strict=True):
                yield one, self._place(one, alignment, tokenizer)

    def _place(self, one: _Pass, alignment: list[dict[str, Any]], tokenizer: Any) -> list[Word]:
        """The words of an alignment, their times mended as faster-whisper does."""
        # It takes what it is given for segments of one recording, and mends each by the one before: so one by one.
        given = SimpleNamespace(find_alignment=lambda *_: [alignment], frames_per_second=self._model.frames_per_second)
        segment: dict[str, Any] = {"seek": 0, "start": 0.0, "end": one.seconds, "tokens": one.tokens}
        mend = type(self._model).add_word_timestamps
        mend(given, [[segment]], tokenizer, None, one.features.shape[1], PREPENDED, APPENDED, 0.0)
        words = []
        for timed in segment["words"]:
            text, start, end = timed["word"].strip(), float(timed["start"]), float(timed["end"])
            if text and start < one.seconds:  # the model heard nothing after the end of the sound
                words.append(Word(text, start, min(max(start, end), one.seconds), float(timed["probability"])))
        return words

    def _tokenizer(self, one: _Pass) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        model = self._model
        return Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task=self.task, language=one.language)

    def _tokens(self, text: str) -> list[int]:
        if not text.strip():
            return []
        tokens: list[int] = self._model.hf_tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        return tokens


def _alike(passes: Iterable[_Pass], kind: Callable[[_Pass], Hashable]) -> list[list[_Pass]]:
    """Passes of one kind together, each in order."""
    groups: dict[Hashable, list[_Pass]] = defaultdict(list)
    for one in passes:
        groups[kind(one)].append(one)
    return list(groups.values())


def _load(model: str, device: Device, compute_type: str, threads: int) -> Any:
    """The model called so, or in the folder of that name; nothing is downloaded."""
    from mmstream import registry

    found = registry.resolve(model)
    if found.path is None or found.use != "operators.decoders:Whisper":
        raise MmstreamError(f"model {model!r} is not a Whisper model: name one such as whisper-base.en, or a folder")
    try:
        import ctranslate2
        import faster_whisper
    except ImportError as fault:
        raise MmstreamError("faster-whisper is missing: pip install 'mmstream[whisper]'") from fault
    try:
        legal = {"default", "auto", *ctranslate2.get_supported_compute_types("cpu" if device == "auto" else device)}
        if device == "auto" and ctranslate2.get_cuda_device_count():
            legal |= set(ctranslate2.get_supported_compute_types("cuda"))
        if compute_type not in legal:
            raise ValueError(f"compute_type is one of {', '.join(sorted(legal))} on this machine, not {compute_type!r}")
        loaded = faster_whisper.WhisperModel(
            str(found.path), device=device, compute_type=compute_type, cpu_threads=threads, local_files_only=True
        )
    except RuntimeError as fault:
        said = " ".join(str(fault).split())
        raise MmstreamError(f"Whisper model {model!r} does not load on device {device!r}: {said}") from fault
    bands = len(loaded.feature_extractor.mel_filters)
    if bands != loaded.model.n_mels:
        raise MmstreamError(
            f"Whisper model {model!r} takes {loaded.model.n_mels} mel bands, and its preprocessor_config.json is "
            f"missing or says {bands}"
        )
    return loaded
