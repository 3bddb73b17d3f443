"""The faults of sources."""

from __future__ import annotations

from mmstream.core import MediaLost, MmstreamError


class SourceError(MmstreamError):
    """A source cannot give what was asked of it: no such file, no such device, nothing that ffmpeg can read."""


class SourceLost(SourceError, MediaLost):  # noqa: N818 - what happened is a loss; everything given before it is good
    """A live source gave media and then ended for good: unplugged, or its server is gone."""
