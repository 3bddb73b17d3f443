"""The tokens of a file, and where a request carries one: a header, or a subprotocol for browsers; never the URL."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from starlette.types import Scope

from mmstream.core import MmstreamError

log = logging.getLogger(__name__)

SUBPROTOCOL = "mmstream.token."  # and base64url of the token, without padding
NAME = "token-"  # of a caller, and the token's number in the file
SHORTEST = 16  # characters; below it a token can be guessed
LONGEST = 512
SCHEMES = ("bearer", "token")  # of the header, and of Deepgram's browser clients as a first subprotocol
MAKE_ONE = "make one with: openssl rand -hex 32"
_LEGAL = re.compile(rf"[A-Za-z0-9._~+/=-]{{{SHORTEST},{LONGEST}}}")
_CANDIDATE = re.compile(rf"[A-Za-z0-9._~+/-]{{{SHORTEST},}}=*")


class Tokens:
    """The tokens that let a caller in, kept as hashes. A caller is called by its token's number in the file."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._hashes = [hashlib.sha256(token.encode()).digest() for token in tokens]

    def __len__(self) -> int:
        return len(self._hashes)

    def caller(self, token: str) -> str | None:
        """The name of the caller who has this token; the time that it takes does not depend on the token's content."""
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        name = None
        for number, known in enumerate(self._hashes, 1):
            if hmac.compare_digest(given, known):
                name = f"{NAME}{number}"
        return name

    def hide(self, text: str) -> str:
        """The text with every token of the file taken out."""
        if not self._hashes:
            return text
        return _CANDIDATE.sub(lambda found: self._hidden(found[0]), text)

    def _hidden(self, word: str) -> str:
        if self.caller(word) is not None:
            return "***"
        return "/".join("***" if self.caller(part) is not None else part for part in word.split("/"))


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file: one a line; empty lines and those that begin with # do not count.

    Raises:
        MmstreamError: the file cannot be read, others can write it, or a line is no token. No line is quoted.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text("utf-8")
    except OSError as fault:
        raise MmstreamError(f"--token-file {path}: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise MmstreamError(f"--token-file {path}: is not a text file") from fault
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        raise MmstreamError(f"--token-file {path}: everybody may write it; mend it with: chmod 600 {path}")
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        log.warning("--token-file %s: every user of this machine may read it; better: chmod 600 %s", path, path)
    tokens = []
    for number, line in enumerate(text.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith("#"):
            continue
        if not _LEGAL.fullmatch(token):
            legal = f"{SHORTEST} to {LONGEST} letters, digits and any of ._~+/=-"
            raise MmstreamError(f"--token-file {path}:{number}: a token has {legal}; {MAKE_ONE}")
        tokens.append(token)
    if not tokens:
        raise MmstreamError(f"--token-file {path}: holds no token, one a line; {MAKE_ONE}")
    return Tokens(tokens)


def take_credentials(scope: Scope) -> tuple[Scope, str | None]:
    """The request without its credentials, so that nothing behind can show them, and the token that it carried."""
    token: str | None = None
    headers = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            token = token or _of_header(value.decode("latin-1"))
        elif name != b"sec-websocket-protocol":
            headers.append((name, value))
    bare = {**scope, "headers": headers}
    if scope["type"] == "websocket":
        bare["subprotocols"], offered = _of_subprotocols(scope.get("subprotocols", ()))
        token = token or offered
    return bare, token


def _of_header(value: str) -> str | None:
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() in SCHEMES else None


def _of_subprotocols(offered: Sequence[str]) -> tuple[list[str], str | None]:
    """Those that name no token, and the token: ours, or what follows "token" or "bearer" as in Deepgram's clients."""
    if len(offered) == 2 and offered[0] in SCHEMES:
        return [offered[0]], offered[1]
    token = None
    rest = []
    for protocol in offered:
        if protocol.startswith(SUBPROTOCOL):
            token = token or _decoded(protocol.removeprefix(SUBPROTOCOL))
        else:
            rest.append(protocol)
    return rest, token


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):  # not base64url, or no text
        return None
