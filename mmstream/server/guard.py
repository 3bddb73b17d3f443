"""Who may come in: the name the client used for us, its Origin, its rate, its token, and its sessions at a time."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from mmstream.core import MmstreamError
from mmstream.server.limits import UPLOADS, Now, Rate, Seats, network_of
from mmstream.server.refusal import Refusal, refuse
from mmstream.server.settings import Settings
from mmstream.server.tokens import NAME as TOKEN_NAME
from mmstream.server.tokens import take_credentials

CALLER = "mmstream.caller"  # in the scope of what was let in: the name of the token or the address
TRUSTED = "mmstream.trusted"  # whether it has shown a token, where one is needed
OPEN = frozenset({"/health", "/ready"})  # without a token, as are the files of the page: they tell nothing of anybody
WRONG_TOKEN_COST = 10.0  # requests: who guesses tokens has few guesses a minute
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing and whose answers other origins cannot read


def origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Origins in normal form: scheme://host[:port], the scheme's own port left out.

    Raises:
        MmstreamError: one has a path, or no scheme.
    """
    found = []
    for text in texts:
        origin = _origin(text)
        if origin is None:
            raise MmstreamError(f"--origin {text}: an origin is http(s)://host[:port], as browsers send it")
        found.append(origin)
    return tuple(found)


def is_trusted(scope: Scope) -> bool:
    """Whether the caller may know what is going on here: one who came in where everybody may is not."""
    return bool(scope[TRUSTED])


def caller_of(scope: Scope) -> str:
    """The name of who was let in, for logs and for what is counted for each caller."""
    return str(scope[CALLER])


class Guard:
    """ASGI middleware: nothing passes that may not. Of what passes, ``caller_of`` tells whose it is.

    The request goes on without its credentials. For one event loop.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, page: frozenset[str] = frozenset(), now: Now = time.monotonic
    ) -> None:
        """``page``: paths of the files of the page."""
        self._app = app
        self._open = OPEN | page
        self._tokens = settings.tokens
        self._limits = settings.limits
        self._origins = settings.origins
        self._hosts = {settings.host.lower(), *(urlsplit(origin).hostname for origin in settings.origins)}
        self._rate = Rate(settings.limits.requests_per_minute, now)
        self._seats = Seats(settings.limits.sessions_per_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        bare, token = take_credentials(scope)
        try:
            self._check_host(scope)
            self._check_origin(scope)
            caller = self._let_in(scope, token)
            scope[CALLER] = caller  # for the log around us
            bare[CALLER], bare[TRUSTED] = caller, len(self._tokens) == 0 or caller.startswith(TOKEN_NAME)
            seated = len(self._tokens) > 0 and _takes_a_seat(scope)
            if seated:
                self._seats.take(caller)
        except Refusal as refusal:
            await refuse(bare, receive, send, refusal)
            return
        try:
            await self._app(bare, receive, send)
        finally:
            if seated:
                self._seats.free(caller)

    def _check_host(self, scope: Scope) -> None:
        """A page elsewhere whose name is made to lead to this machine still sends its own name (DNS rebinding).

        Where there are tokens it would need one.
        """
        if len(self._tokens) > 0:
            return
        host = _host(_header(scope, b"host") or "")
        if host is None or not (host in self._hosts or is_loopback(host)):
            message = "this server does not go by that name: use its address, or start it with --origin"
            raise Refusal("forbidden_host", message, 403, 4403)

    def _check_origin(self, scope: Scope) -> None:
        if scope["type"] == "http" and scope["method"] in SAFE:
            return
        given = _header(scope, b"origin")
        if given is None:  # not a browser
            return
        origin = _origin(given)
        if origin is None or not (origin in self._origins or _is_own(origin, scope)):
            message = "pages of that origin may not use this server: start it with --origin, naming it"
            raise Refusal("forbidden_origin", message, 403, 4403)

    def _let_in(self, scope: Scope, token: str | None) -> str:
        """The caller's name.

        Raises:
            Refusal: it asks too often, or has no token where one is needed.
        """
        address = _address(scope)
        name = None if token is None else self._tokens.caller(token)
        needed = len(self._tokens) > 0 and not self._is_open(scope)
        wrong = needed and name is None
        wait_s = self._rate.take(name or address, WRONG_TOKEN_COST if wrong and token is not None else 1.0)
        if wait_s > 0:
            limit = self._limits.requests_per_minute
            raise Refusal("too_many", f"{limit} requests a minute are allowed", 429, 4429, max(1, round(wait_s + 0.5)))
        if wrong:
            message = "needs a token: send the header 'Authorization: Bearer TOKEN'"
            raise Refusal("unauthorized", message, 401, 4401)
        return name or address

    def _is_open(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in self._open


def is_loopback(host: str) -> bool:
    """Whether the host of a URL is this machine by a name that nobody else can give out."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _takes_a_seat(scope: Scope) -> bool:
    return scope["type"] == "websocket" or (scope["method"] == "POST" and str(scope["path"]).startswith(UPLOADS))


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return "unknown" if client is None else network_of(client[0])


def _header(scope: Scope, wanted: bytes) -> str | None:
    """The only header of that name; an empty text where there are several, which is nobody's."""
    values = [value for name, value in scope["headers"] if name == wanted]
    if len(values) > 1:
        return ""
    return values[0].decode("latin-1") if values else None


def _origin(text: str) -> str | None:
    """Normal form; None for "null" and whatever else is no origin."""
    scheme, separator, rest = text.partition("://")
    netloc = _netloc(scheme.lower(), rest)
    return f"{scheme.lower()}://{netloc}" if separator and scheme.lower() in ("http", "https") and netloc else None


def _netloc(scheme: str, text: str) -> str | None:
    """host[:port] in normal form, without the port that the scheme has anyhow."""
    if any(character in text for character in "/\\?#@") or not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    host = f"[{host}]" if ":" in host else host.rstrip(".")
    return host if port is None or port == PORTS[scheme] else f"{host}:{port}"


def _host(text: str) -> str | None:
    """The host of a Host header, without its port."""
    netloc = _netloc("http", text)
    return None if netloc is None else urlsplit(f"//{netloc}").hostname


def _is_own(origin: str, scope: Scope) -> bool:
    """Whether the page came from where it now asks. TLS may end before us: then the page's scheme is https."""
    scheme, _, netloc = origin.partition("://")
    if scope["scheme"] in ("https", "wss") and scheme != "https":
        return False
    return netloc == _netloc(scheme, _header(scope, b"host") or "")
