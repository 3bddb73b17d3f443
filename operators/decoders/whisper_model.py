"""One Whisper model, and one pass of it over up to 30 s of sound."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError
from mmstream.media import Word

SAMPLE_RATE = 16_000  # Hz
MAX_HINT_TOKENS = 60  # each of prompt and hotwords
MAX_CONTEXT_TOKENS = 96
MAX_NEW_TOKENS = 224  # with the prompt this stays within the 448 that the model takes
NEW_TOKENS_PER_S = 25  # no language needs more; a model that repeats itself is stopped there
MAX_COMPRESSION = 2.4  # text that packs better than this repeats itself
NO_SPEECH_PROBABILITY = 0.6  # above it, and below the next, the model says that nobody speaks
NO_SPEECH_LOGPROB = -1.0
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001

Task = Literal["transcribe", "translate"]
Device = Literal["auto", "cpu", "cuda"]


class WhisperModel:
    """A Whisper model in CTranslate2's format. Deterministic: temperature 0, no fallback to sampling.

    One call runs the encoder once and the decoder once, or twice where the first attempt repeats itself, so a call
    costs the same however long the stream is. Errors: ValueError naming the legal values; MmstreamError where the
    model or a package is missing.
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

    def hear(self, sound: NDArray[np.float32], language: str | None, context: str) -> tuple[list[Word], str, float]:
        """Words with times in seconds from the first sample, the language, and how probable the language is.

        ``sound``: (time,) at 16 kHz, at most 30 s. ``language``: None asks the model. ``context``: what was said
        before.
        """
        from faster_whisper.audio import pad_or_trim
        from faster_whisper.tokenizer import Tokenizer

        features = self._model.feature_extractor(sound)[:, :-1]  # (mel, time); its last frame is padding
        encoded = self._model.encode(pad_or_trim(features))
        probability = 1.0
        if language is None:
            token, probability = self._model.model.detect_language(encoded)[0][0]
            language = token[2:-2]
        tokenizer = Tokenizer(
            self._model.hf_tokenizer, self._model.model.is_multilingual, task=self.task, language=language
        )
        seconds = len(sound) / SAMPLE_RATE
        tokens = self._decode(encoded, tokenizer, context, seconds)
        words = self._time(tokens, tokenizer, encoded, features.shape[1], seconds) if tokens else []
        return words, language, probability

    def _decode(self, encoded: Any, tokenizer: Any, context: str, seconds: float) -> list[int]:
        """The tokens of the text, timestamps among them; none where nobody speaks or the model only repeats itself."""
        from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens

        model = self._model
        contexts = [self._tokens(context)[-MAX_CONTEXT_TOKENS:], []] if context else [[]]
        for before in contexts:  # what was said before is what a model likes to repeat
            prompt = model.get_prompt(tokenizer, self._prompt + before, hotwords=self.hotwords)
            new = min(MAX_NEW_TOKENS, 20 + int(NEW_TOKENS_PER_S * seconds))
            result = model.model.generate(
                encoded,
                [prompt],
                beam_size=self.beam_size,
                max_length=max(2 * new, len(prompt) + new),  # CTranslate2 takes half of it at most for new tokens
                return_scores=True,
                return_no_speech_prob=True,
                suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            )[0]
            tokens: list[int] = result.sequences_ids[0]
            logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
            if result.no_speech_prob > NO_SPEECH_PROBABILITY and logprob < NO_SPEECH_LOGPROB:
                return []
            text = tokenizer.decode(tokens).strip()
            if not text:
                return []
            if get_compression_ratio(text) <= MAX_COMPRESSION:
                return tokens
        return []

    def _time(self, tokens: list[int], tokenizer: Any, encoded: Any, frames: int, seconds: float) -> list[Word]:
        """The words of ``tokens`` with times from the model's cross-attention, within the sound."""
        segment: dict[str, Any] = {"seek": 0, "start": 0.0, "end": seconds, "tokens": tokens}
        self._model.add_word_timestamps([[segment]], tokenizer, encoded, frames, PREPENDED, APPENDED, 0.0)
        words = []
        for timed in segment["words"]:
            text, start, end = timed["word"].strip(), float(timed["start"]), float(timed["end"])
            if text and start < seconds:  # the model heard nothing after the end of the sound
                words.append(Word(text, start, min(max(start, end), seconds), float(timed["probability"])))
        return words

    def _tokens(self, text: str) -> list[int]:
        if not text.strip():
            return []
        tokens: list[int] = self._model.hf_tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        return tokens


def _load(model: str, device: Device, compute_type: str, threads: int) -> Any:
    """The model called so, or in the folder of that name; nothing is downloaded."""
    from mmstream import registry

    found = registry.resolve(model)
    if found.path is None or found.use != "operators.decoders:Whisper":
        raise MmstreamError(f"model {model!r} is not a Whisper model: name one such as whisper-base.en, or a folder")
    try:
        import ctranslate2  # type: ignore[import-untyped]
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
