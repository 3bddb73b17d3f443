"""SECURITY.md is exact: its files are there, and its figures are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmstream.server.decoding import DecodingLimits
from mmstream.server.limits import Limits
from mmstream.server.settings import Settings
from mmstream.server.tokens import SHORTEST
from mmstream.server.uploads import Uploads

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_its_files_are_there():
    names = re.findall(r"`([a-z_]+\.py)`", TEXT)
    assert len(names) > 30
    for name in names:
        assert (ROOT / ("tests" if name.startswith("test_") else "mmstream/server") / name).is_file(), name


LIMITS, DECODING, UPLOADS, SETTINGS = Limits(), DecodingLimits(), Uploads(), Settings()


@pytest.mark.parametrize(
    "figure",
    [
        f"listens on {SETTINGS.host}",
        f"{SHORTEST} characters at least",
        f"{LIMITS.connections} connections, {LIMITS.connections_per_address} of one address",
        f"{LIMITS.requests_per_minute} requests a minute and {LIMITS.sessions_per_token} sessions a token",
        f"{SETTINGS.sessions} sessions in all",
        f"headers within {LIMITS.header_s:g} s, a body no slower than {LIMITS.body_rate} bytes a second",
        f"idle {LIMITS.idle_s:g} s, a session {LIMITS.session_s / 3600:g} h, cut off after {LIMITS.stall_s:g} s",
        f"headers {LIMITS.header_bytes // 1000} kB, a body {LIMITS.body_bytes // 1000} kB",
        f"an upload {LIMITS.upload_bytes // 10**6} MB, a message {LIMITS.message_bytes // 10**6} MB",
        f"faster than {LIMITS.bytes_per_s // 10**6} MB or {LIMITS.messages_per_s} messages a second",
        f"{UPLOADS.total_bytes // 10**9} GB in all, {UPLOADS.spare_bytes // 10**6} MB of the disk stay free",
        f"{DECODING.memory_mb} MB of memory, {DECODING.cpu_s} s of processor time without a packet",
        f"{DECODING.stalled_s:g} s without progress, {DECODING.media_s / 3600:g} h of media",
        f"{DECODING.megapixels:g} megapixels",
        f"within {SETTINGS.resume_s:g} s; the connection before",
    ],
)
def test_its_figures_are_those_of_the_code(figure):
    assert figure in " ".join(TEXT.split())
