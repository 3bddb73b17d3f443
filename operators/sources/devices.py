"""Sound devices, through PortAudio."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmstream.spelling import did_you_mean
from operators.sources.errors import SourceError

_NONE_FOUND = "no microphone found: PortAudio sees no device that records; is one plugged in and allowed for this user?"
_quiet: list[Any] = []  # keeps the silent error function alive for as long as ALSA may call it


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that records."""

    index: int
    name: str
    host: str  # the system's sound interface: ALSA, Core Audio, ...
    channels: int  # at most
    sample_rate: int  # Hz, unless asked for another
    is_default: bool


def import_sounddevice() -> Any:
    """The ``sounddevice`` module.

    Raises:
        SourceError: it or PortAudio, which it loads when imported, is missing.
    """
    _silence_alsa()
    try:
        import sounddevice
    except ImportError as error:
        raise SourceError(f"sounddevice is missing ({error}); install it with: pip install sounddevice") from error
    except OSError as error:
        how = {"linux": "sudo apt install libportaudio2", "darwin": "brew install portaudio"}.get(sys.platform)
        mend = f"install it with: {how}" if how else "pip install --force-reinstall sounddevice brings it"
        raise SourceError(f"the microphone needs PortAudio, which is missing ({error}); {mend}") from error
    return sounddevice


def _silence_alsa() -> None:
    """Keep ALSA from writing a screenful about every sound card that a machine might have had."""
    if _quiet or not sys.platform.startswith("linux"):
        return
    name = ctypes.util.find_library("asound")
    if name is None:
        return
    arguments = (ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
    silent = ctypes.CFUNCTYPE(None, *arguments)(lambda *_: None)
    ctypes.CDLL(name).snd_lib_error_set_handler(silent)
    _quiet.append(silent)


def list_devices() -> list[InputDevice]:
    """Every device that records, as PortAudio found them when it was first used.

    Raises:
        SourceError: PortAudio is missing.
    """
    sounddevice = import_sounddevice()
    hosts = sounddevice.query_hostapis()
    default = sounddevice.default.device["input"]
    if default < 0 and hosts:
        default = hosts[0]["default_input_device"]
    return [
        InputDevice(
            index=number,
            name=device["name"],
            host=hosts[device["hostapi"]]["name"],
            channels=device["max_input_channels"],
            sample_rate=round(device["default_samplerate"]),
            is_default=number == default,
        )
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]


def choose_device(wanted: str | int | None, devices: Sequence[InputDevice]) -> InputDevice:
    """The device ``wanted``: an index, a name, or a part of a name; None for the system's default.

    Raises:
        SourceError: there is none, or a name fits several.
    """
    if not devices:
        raise SourceError(_NONE_FOUND)
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    index = int(wanted) if isinstance(wanted, int) or wanted.strip().isdecimal() else None
    if index is not None:
        found = [device for device in devices if device.index == index]
    else:
        name = str(wanted).casefold()
        found = [device for device in devices if device.name.casefold() == name]
        found = found or [device for device in devices if name in device.name.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        raise SourceError(f"microphone {wanted!r} fits several: {_listed(found)}; give the number")
    near = did_you_mean(str(wanted), [device.name for device in devices]) if index is None else ""
    raise SourceError(f"no microphone {wanted!r}; there are: {_listed(devices)}{near}")


def _listed(devices: Sequence[InputDevice]) -> str:
    return ", ".join(f"{device.index} {device.name!r} ({device.host})" for device in devices)
