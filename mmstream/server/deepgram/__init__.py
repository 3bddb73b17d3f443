"""Live transcription for clients of Deepgram: the WebSocket ``/v1/listen``. docs/apis.md says what differs."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from mmstream.server.deepgram.listen import serve
from mmstream.server.service import Service
from mmstream.server.settings import Settings


def router(service: Service, settings: Settings) -> APIRouter:
    """The route of live transcription."""
    routes = APIRouter()

    @routes.websocket("/v1/listen")
    async def listen(websocket: WebSocket) -> None:
        await serve(websocket, service)

    return routes
