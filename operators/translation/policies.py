"""Simultaneous policies: how many words of a translation may be promised while its sentence is still being spoken.

Each is a plain class over drafts. A draft is a translation of all that has been heard of the sentence so far, and
begins with the words that have been promised. Once the sentence is over all of its translation is promised, whatever
the policy, so these speak of the time before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from mmstream.translation.punctuation import ends_sentence
from operators.policies import common_prefix

PolicyName = Literal["sentence", "clause", "wait_k", "local_agreement", "alignatt"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A translation of the words of a sentence that have been heard."""

    words: tuple[str, ...]
    sources: tuple[int, ...] | None  # for each word, the number of the source word it comes from; None: not known
    heard: int  # source words that it translates, those that may still change too
    sure: int  # leading source words that are stable and that the recogniser is sure of


class Policy(Protocol):
    """Says how much of a draft is safe. It remembers nothing: the drafts before are given to it."""

    drafts: int  # how many of a sentence it looks at

    def stable_count(self, drafts: Sequence[Draft]) -> int:
        """How many leading words of the last of ``drafts``, the oldest first, may be promised."""


class WhenOver:
    """Nothing before its sentence or clause is over."""

    drafts = 1

    def stable_count(self, drafts: Sequence[Draft]) -> int:
        return 0


class WaitK:
    """A word for every source word that is sure, ``k`` words behind (Ma et al., "STACL", ACL 2019)."""

    drafts = 1

    def __init__(self, k: int = 3) -> None:
        if k < 1:
            raise ValueError(f"wait_k takes k >= 1, not {k}")
        self.k = k

    def stable_count(self, drafts: Sequence[Draft]) -> int:
        draft = drafts[-1]
        return min(complete(draft), max(0, draft.sure - self.k + 1))


class LocalAgreement:
    """The longest common prefix of the last ``n`` drafts (Liu, Spanakis and Niehues, Interspeech 2020)."""

    def __init__(self, n: int = 2) -> None:
        if n < 1:
            raise ValueError(f"local_agreement takes n >= 1, not {n}")
        self.drafts = n

    def stable_count(self, drafts: Sequence[Draft]) -> int:
        if len(drafts) < self.drafts:
            return 0
        last = drafts[-1]
        agreed = min(common_prefix(last.words, draft.words) for draft in drafts[-self.drafts :])
        return min(agreed, complete(last), sourced(last, last.sure))


class AlignAtt:
    """The words before the first that attends to one of the last ``k`` words heard, or to one that is not sure.

    Papi, Turchi and Negri, "AlignAtt", Interspeech 2023, with words for frames. Where the engine gives no attention
    there is nothing to go by, and two drafts in a row have to agree.
    """

    drafts = 2

    def __init__(self, k: int = 2) -> None:
        if k < 0:
            raise ValueError(f"alignatt takes k >= 0, not {k}")
        self.k = k
        self._without = LocalAgreement(2)

    def stable_count(self, drafts: Sequence[Draft]) -> int:
        draft = drafts[-1]
        if draft.sources is None:
            return self._without.stable_count(drafts)
        return min(complete(draft), sourced(draft, min(draft.sure, draft.heard - self.k)))


def complete(draft: Draft) -> int:
    """The leading words of a draft that more source words can hardly add to: not the last, nor one behind an end."""
    count = max(0, len(draft.words) - 1)
    return next((at for at, word in enumerate(draft.words[:count]) if ends_sentence(word)), count)


def sourced(draft: Draft, sure: int) -> int:
    """The leading words of a draft that come from the first ``sure`` source words."""
    if draft.sources is None:
        return len(draft.words) if sure > 0 else 0
    return next((at for at, source in enumerate(draft.sources) if source >= sure), len(draft.words))


def policy_named(name: PolicyName, k: int | None = None) -> Policy:
    """The policy of that name; ``k`` is what its own class takes, None what that class has as its default.

    Raises:
        ValueError: there is none, or ``k`` is out of range or means nothing to it.
    """
    if name not in get_args(PolicyName):
        raise ValueError(f"policy is one of {', '.join(get_args(PolicyName))}, not {name!r}")
    if name in ("sentence", "clause"):
        if k is not None:
            raise ValueError(f"policy {name!r} takes no k")
        return WhenOver()
    kinds: dict[str, Callable[..., Policy]] = {"wait_k": WaitK, "local_agreement": LocalAgreement, "alignatt": AlignAtt}
    return kinds[name]() if k is None else kinds[name](k)
