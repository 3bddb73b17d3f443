"""``mmstream serve``: live sessions and files over the network, and a page for browsers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmstream.commands.options import Allow, ExecutorOption, Sets
from mmstream.core import MmstreamError

log = logging.getLogger(__name__)


def serve(
    file: Annotated[Path | None, typer.Argument(help="Pipeline file; by default the one of mmstream.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model to serve, the default first; several times.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback it needs --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File of tokens, one a line; who comes in needs one of them.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Let pages from there use this server; several times.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    translate: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGES",
            help="What captions may be translated into, such as de,fr; none: nothing. By default what the translator "
            "of mmstream itself knows.",
        ),
    ] = None,
    translator: Annotated[str, typer.Option(metavar="NAME", help="Model that translates.")] = "auto",
    sessions: Annotated[int, typer.Option(min=1, help="Sessions open at a time, live ones and files.")] = 64,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Change a limit, such as idle_s=120; several times.")
    ] = None,
    log_form: Annotated[
        Literal["text", "json"],
        typer.Option("--log", help="Log lines for people, or JSON for machines."),
    ] = "text",
    executor: ExecutorOption = "local",
    workers: Annotated[int, typer.Option(min=1, help="Replicas of every worker, where the file does not say.")] = 1,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Serve live captions and transcription: a page, a WebSocket, and the APIs of OpenAI and Deepgram.

    Ctrl-C ends it: nobody is let in any more, and those who speak get their last words. A second one ends it at once.

    Examples:

        mmstream serve

        mmstream serve pipeline.yaml --port 9000 --model avsr --model sphinx

        mmstream serve --host 0.0.0.0 --token-file tokens --tls-cert cert.pem --tls-key key.pem

        mmstream serve --translate de,pl --translator m2m100-418m

        mmstream serve --executor ray --workers 2
    """
    try:
        from mmstream.server.guard import origins
        from mmstream.server.limits import limits
        from mmstream.server.listening import listen, tls_context
        from mmstream.server.logs import set_up
        from mmstream.server.running import run
        from mmstream.server.service import Service
        from mmstream.server.settings import Settings
        from mmstream.server.tokens import Tokens, read_tokens
        from mmstream.server.translations import offer
    except ModuleNotFoundError as missing:
        raise MmstreamError(f"mmstream serve needs {missing.name}: run python -m pip install mmstream") from missing

    verbose = log.isEnabledFor(logging.DEBUG)
    set_up(log_form, Tokens(()), verbose=verbose)
    tls = tls_context(tls_cert, tls_key)
    settings = Settings(
        host=host,
        port=port,
        tokens=Tokens(()) if token_file is None else read_tokens(token_file),
        origins=origins(origin or ()),
        limits=limits(limit or ()),
        sessions=sessions,
    )
    set_up(log_form, settings.tokens, verbose=verbose)  # now it knows what to leave out
    service = Service(
        model or ("auto",),
        file,
        executor=executor,
        workers=workers,
        sessions=sessions,
        sets=sets or (),
        allow=allow or (),
        offer=offer(translate, translator, file, sets or (), allow or ()),
    )
    bound = listen(host, port, guarded=len(settings.tokens) > 0)
    try:
        service.start()
        log.info("model: %s", ", ".join(one.recogniser.describe() for one in service.models.values()))
        log.info("translations: %s", service.default.offer.describe())
        run(service, settings, bound, tls)
    finally:
        service.close()
        for one in bound:
            one.close()
