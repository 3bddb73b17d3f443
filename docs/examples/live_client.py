"""A 16 kHz mono WAV file as `mmstream serve` hears it play: python live_client.py ADDRESS FILE [LANGUAGE]..."""

import asyncio
import json
import sys
import wave

from websockets.asyncio.client import ClientConnection, connect


async def play(socket: ClientConnection, path: str) -> None:
    with wave.open(path) as sound:
        while chunk := sound.readframes(1600):
            await socket.send(chunk)
            await asyncio.sleep(0.1)
    await socket.send(json.dumps({"type": "finish"}))


async def main(address: str, path: str, *languages: str) -> None:
    async with connect(address, subprotocols=["mmstream.v1"]) as socket:
        await socket.send(json.dumps({"type": "start", "protocol": 1, "translate": languages}))
        playing = asyncio.create_task(play(socket, path))
        async for message in socket:
            event = json.loads(message)
            if event["type"] in ("caption", "translation") and event["final"]:
                language = event.get("target") or event["language"]  # of a translation, or of what was said
                print(event["start"], language, *(word["word"] for word in event["stable"]), flush=True)  # noqa: T201
        await playing


asyncio.run(main(*sys.argv[1:]))
