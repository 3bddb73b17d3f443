"""Commit policies: what of a changing hypothesis may be promised, and the operator that promises it.

The names are those of Liu, Spanakis and Niehues, "Low-Latency Sequence-to-Sequence Speech Recognition and
Translation by Partial Hypothesis Selection", arXiv 2005.11185.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, get_args

from mmstream.core import Operator, Packet
from mmstream.media import Caption, Gap, Hypothesis, Word

PolicyName = Literal["local_agreement", "hold_n", "final"]

SEAM_WORDS = 12  # how many stable words are looked at to find where a contradicting hypothesis goes on
SEAM_S = 0.3  # seconds that a word has moved which weigh as much as one word that differs


class Policy(Protocol):
    """Says how much of a hypothesis is safe. One object per session; picklable."""

    def stable_count(self, words: Sequence[str], final: bool) -> int:
        """How many leading words of this hypothesis, the next of its utterance, may be promised."""


class LocalAgreement:
    """The longest common prefix of the last ``n`` hypotheses of the utterance; a final one is promised whole."""

    def __init__(self, n: int = 2) -> None:
        if n < 1:
            raise ValueError(f"LocalAgreement takes n >= 1, not {n}")
        self.n = n
        self._recent: deque[tuple[str, ...]] = deque(maxlen=n)

    def stable_count(self, words: Sequence[str], final: bool) -> int:
        if final:
            self._recent.clear()
            return len(words)
        self._recent.append(tuple(words))
        if len(self._recent) < self.n:
            return 0
        return min(common_prefix(words, other) for other in self._recent)


class HoldN:
    """All but the last ``n`` words; a final hypothesis is promised whole."""

    def __init__(self, n: int = 2) -> None:
        if n < 0:
            raise ValueError(f"HoldN takes n >= 0, not {n}")
        self.n = n

    def stable_count(self, words: Sequence[str], final: bool) -> int:
        return len(words) if final else max(0, len(words) - self.n)


class Final:
    """Nothing before the final hypothesis: for files, where nobody waits and no later correction should be lost."""

    def stable_count(self, words: Sequence[str], final: bool) -> int:
        return len(words) if final else 0


class Both:
    """What every one of the given policies promises."""

    def __init__(self, *policies: Policy) -> None:
        self.policies = policies

    def stable_count(self, words: Sequence[str], final: bool) -> int:
        return min(policy.stable_count(words, final) for policy in self.policies)


def common_prefix(one: Sequence[str], other: Sequence[str]) -> int:
    """How many leading words two word lists share."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


@dataclass
class CommitState:
    """One session."""

    policy: Policy
    index: int = 0  # of the utterance under way
    stable: list[Word] = field(default_factory=list)  # its words that were promised
    shown: tuple[int, tuple[str, ...]] | None = None  # its last caption: stable count, texts; None: not shown yet
    latest: Packet[Hypothesis] | None = None  # its last hypothesis


class Commit(Operator[CommitState]):
    """Hypotheses -> captions. Stable words never change; captions number the utterances of a session, across gaps.

    ``policy`` with ``n`` chooses what becomes stable: what the last ``n`` hypotheses agree on, all but the last ``n``
    words, or ``final`` ones alone (without ``n``); ``hold_words`` keeps back that many last words besides. Where a
    hypothesis contradicts stable words, these stay, and the words that the hypothesis has after them follow. A
    caption comes only when its text or its stable part changed; a final one holds stable words alone. An utterance
    that never held a word gives nothing.

    Errors: ValueError for an unknown policy or a number out of range.
    """

    accepts: ClassVar[tuple[type, ...]] = (Hypothesis, Gap)
    emits: ClassVar[tuple[type, ...]] = (Caption,)

    def __init__(self, policy: PolicyName = "local_agreement", n: int = 2, hold_words: int = 0) -> None:
        if policy not in get_args(PolicyName):
            raise ValueError(f"policy is one of {', '.join(get_args(PolicyName))}, not {policy!r}")
        if hold_words < 0:
            raise ValueError(f"hold_words is 0 or more, not {hold_words}")
        self.policy, self.n, self.hold_words = policy, n, hold_words
        self._new_policy()  # checks n now rather than when a session opens

    def open(self, session: str) -> CommitState:
        return CommitState(self._new_policy())

    def process(self, packet: Packet[Any], state: CommitState) -> Iterator[Packet[Any]]:
        if isinstance(packet.data, Gap):
            if packet.data.medium == "audio":  # words go on while nothing is seen
                yield from self.flush(state)
            yield packet
        else:
            yield from self._show(packet, state)

    def flush(self, state: CommitState) -> Iterator[Packet[Caption]]:
        """End the utterance that no final hypothesis ended."""
        if state.latest is not None:
            yield from self._show(state.latest.derive(replace(state.latest.data, final=True)), state)

    def _new_policy(self) -> Policy:
        chosen: Policy
        if self.policy == "final":
            chosen = Final()
        else:
            chosen = LocalAgreement(self.n) if self.policy == "local_agreement" else HoldN(self.n)
        return Both(chosen, HoldN(self.hold_words)) if self.hold_words else chosen

    def _show(self, packet: Packet[Hypothesis], state: CommitState) -> Iterator[Packet[Caption]]:
        heard = packet.data
        begin = seam(state.stable, heard.words)
        promised = state.policy.stable_count([word.text for word in heard.words], heard.final)
        rest = following(state.stable, heard.words[begin:])
        newly = len(rest) if heard.final else max(0, promised - begin)
        if heard.final:
            state.stable = [rated(word, heard.words) for word in state.stable]
        state.stable += rest[:newly]
        unstable = rest[newly:]
        shown = (len(state.stable), tuple(word.text for word in [*state.stable, *unstable]))
        if shown[1] or state.shown is not None:
            if heard.final or shown != state.shown:
                caption = Caption(state.index, tuple(state.stable), tuple(unstable), heard.final, heard.language)
                yield packet.derive(caption)
            state.shown = shown
        state.latest = packet
        if heard.final:
            state.index += 0 if state.shown is None else 1
            state.stable, state.shown, state.latest = [], None, None


def seam(stable: Sequence[Word], words: Sequence[Word]) -> int:
    """How many leading ``words`` are about what ``stable`` already says.

    All of ``stable`` where they agree. Otherwise the split that costs least: one for each word to insert, delete or
    replace before it, and one for each SEAM_S between the last word before it and the last stable one. So a word is
    neither said twice nor lost where one was replaced, split in two, or moved a little.
    """
    if not stable or common_prefix([word.text for word in stable], [word.text for word in words]) == len(stable):
        return len(stable)
    tail = stable[-SEAM_WORDS:]
    skipped = sum(word.end <= tail[0].start for word in words) if len(tail) < len(stable) else 0
    edits = _edits([word.text for word in tail], [word.text for word in words[skipped:]])
    costs = [count + _drift(tail, words[: skipped + k]) / SEAM_S for k, count in enumerate(edits)]
    return skipped + costs.index(min(costs))


def _edits(tail: Sequence[str], words: Sequence[str]) -> list[int]:
    """For each k, the edit distance between ``tail`` and the first k of ``words``."""
    row = list(range(len(words) + 1))
    for text in tail:
        above, row = row, [row[0] + 1]
        for k, other in enumerate(words, start=1):
            row.append(min(above[k] + 1, row[k - 1] + 1, above[k - 1] + (text != other)))
    return row


def _drift(tail: Sequence[Word], words: Sequence[Word]) -> float:
    """Seconds between the ends of ``tail`` and ``words``; of their last words' starts, if these are the same word."""
    last = tail[-1]
    if not words:
        return last.end - tail[0].start
    ends = abs(words[-1].end - last.end)
    return min(ends, abs(words[-1].start - last.start)) if words[-1].text == last.text else ends


def rated(word: Word, final: Sequence[Word]) -> Word:
    """``word`` with the confidence that the final hypothesis gives it, where it heard the same word there.

    Recognisers know their confidence at the end of an utterance only; what a stable word says never changes.
    """
    if word.confidence is not None:
        return word
    near = [heard for heard in final if heard.text == word.text and heard.start < word.end and word.start < heard.end]
    return replace(word, confidence=near[0].confidence) if near else word


def following(stable: Sequence[Word], words: Sequence[Word]) -> list[Word]:
    """``words`` with times that do not run back into what is stable."""
    if not stable or not words or words[0].start >= stable[-1].end:
        return list(words)
    end = stable[-1].end
    return [replace(word, start=max(word.start, end), end=max(word.end, end)) for word in words]
