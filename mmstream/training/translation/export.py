"""A checkpoint -> the folder that is shipped: CTranslate2's files, the pieces, their description, a model card."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmstream.atomic import AtomicFile, sync_folder
from mmstream.core import MmstreamError
from mmstream.nets.translation import END, TranslationConfig, TranslationNet
from mmstream.training import checkpoint
from mmstream.training.card import Source
from mmstream.training.export import CARD, METRICS, last_metrics
from mmstream.training.translation import ctranslate, pieces
from mmstream.training.translation.card import model_card
from mmstream.training.translation.corpus import MODEL, sources_of
from mmstream.training.translation.decode import greedy
from mmstream.translation import words

DESCRIPTION = "model.json"
FORMAT = 1
KIND = "translation"
SOURCE = "en"  # the language of all sources
PROBES = (
    "Hello, how are you?", "I have never been to Paris.", "The meeting begins at nine o'clock tomorrow.",
    "she told me that she would come back later", "Where is the nearest station?", "my brother does not like coffee",
    "If it rains, we will stay at home.", "This book is more interesting than that one.", "thank you for your help",
    "Can you tell me what happened?", "He lost his keys on the way to work.", "we need three more chairs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how far rounding moved it."""

    folder: Path
    bytes: int  # of all files
    parameters: int
    agreement: float  # 0..1: words of greedy translations that stay where they were


def is_run(run: Path) -> bool:
    """Whether ``run`` is the folder of a translation run."""
    return (run / MODEL).is_file()


def export(
    run: Path, folder: Path, *, precision: ctranslate.Precision = "int8", sources: Sequence[Source] = ()
) -> Exported:
    """Write the average weights of ``run/last.pt`` to ``folder``, described, with a model card.

    ``sources``: what it was trained on, for the card. The description is written last: a folder that has one is whole.

    Raises:
        MmstreamError: there is no checkpoint, CTranslate2 is not installed, or the folder cannot be written.
    """
    stored = checkpoint.load(run / checkpoint.NAME)
    net = average(stored)
    model = (run / MODEL).read_bytes()
    processor = pieces.opened(model)
    vocabulary = [processor.id_to_piece(number) for number in range(len(processor))]
    parameters = sum(one.numel() for one in net.parameters())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            made = Path(partial)
            ctranslate.write(net, vocabulary, made, precision)
            (made / MODEL).write_bytes(model)
            (made / words.FILE).write_bytes(words.packed(words.words_in(sources_of(run))))
            files = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(made.iterdir())}
            size = sum(one.stat().st_size for one in made.iterdir())
            for name in files:
                _place(made / name, folder / name)
        sync_folder(folder)
    except OSError as fault:
        raise MmstreamError(f"{fault.filename or folder}: cannot be written: {fault.strerror or fault}") from fault
    languages = pieces.languages_of(vocabulary)
    description: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "source": SOURCE,
        "targets": languages,
        "language_tokens": {one: pieces.language_token(one) for one in languages},
        "net": stored.cfg,
        "parameters": parameters,
        "precision": precision,
        "steps": stored.step,
        "files": files,
        "bytes": size,
        "metrics": last_metrics(run / METRICS),
    }
    with AtomicFile(folder / CARD) as card:
        card.write(model_card(description, sources))
    with AtomicFile(folder / DESCRIPTION) as file:
        file.write(json.dumps(description, indent=2) + "\n")
    return Exported(folder, size, parameters, agreement(net, folder, languages))


def average(stored: checkpoint.Checkpoint) -> TranslationNet:
    """The averaged net of a checkpoint, to translate with.

    Raises:
        MmstreamError: the checkpoint is of something else.
    """
    try:
        net = TranslationNet(TranslationConfig(**stored.cfg))
        net.load_state_dict(stored.ema)
    except (RuntimeError, TypeError) as fault:
        said = " ".join(str(fault).split())
        raise MmstreamError(f"the checkpoint holds no translation net: {said}") from fault
    return net.eval()


def agreement(net: TranslationNet, folder: Path, languages: Sequence[str]) -> float:
    """The share of tokens of greedy translations of ``PROBES`` that the model in ``folder`` puts where ``net`` does."""
    import ctranslate2

    processor = pieces.opened((folder / MODEL).read_bytes())
    first = [processor.piece_to_id(pieces.language_token(language)) for language in languages]
    sources = [[one, *processor.encode(text), END] for one in first for text in PROBES]
    ours = greedy(net, sources)
    named = [[processor.id_to_piece(token) for token in source] for source in sources]
    translator = ctranslate2.Translator(str(folder), device="cpu")
    longest = max(map(len, ours)) + 1
    results = translator.translate_batch(named, beam_size=1, max_decoding_length=longest)
    theirs = [[processor.piece_to_id(piece) for piece in result.hypotheses[0]] for result in results]
    both = list(zip(ours, theirs, strict=True))
    same: int = sum(one == other for left, right in both for one, other in zip(left, right, strict=False))
    return same / max(1, sum(max(len(left), len(right)) for left, right in both))


def _place(made: Path, there: Path) -> None:
    """Move a file to its place, whole or not at all."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(there)
