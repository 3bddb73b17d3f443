"""``mmstream devices``: the microphones that can be used."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from mmstream.commands.options import Json, print_json
from operators.sources import list_devices


def devices(as_json: Json = False) -> None:
    """List microphones, by number and name, for `mmstream live --device`.

    Example:

        mmstream devices
    """
    found = list_devices()
    if as_json:
        print_json([asdict(device) for device in found])
        return
    if not found:
        Console(highlight=False).print("no microphone found; `mmstream doctor` says whether PortAudio is there")
        return
    table = Table("number", "name", "channels", "sample rate", "", box=None)
    for device in found:
        table.add_row(
            str(device.index),
            device.name,
            str(device.channels),
            f"{device.sample_rate} Hz",
            "default" if device.is_default else "",
        )
    Console(highlight=False).print(table)
