"""Where media comes from. Importing this package imports NumPy only: each source brings its library when it opens."""

from operators.sources.camera import Camera
from operators.sources.container import MediaInfo, probe
from operators.sources.devices import InputDevice, list_devices
from operators.sources.errors import SourceError, SourceLost
from operators.sources.incoming import Incoming, PcmLine, Upload
from operators.sources.live_url import LiveUrl
from operators.sources.media_file import MediaFile, PlayedFile
from operators.sources.microphone import Microphone

__all__ = [
    "Camera",
    "Incoming",
    "InputDevice",
    "LiveUrl",
    "MediaFile",
    "MediaInfo",
    "Microphone",
    "PcmLine",
    "PlayedFile",
    "SourceError",
    "SourceLost",
    "Upload",
    "list_devices",
    "probe",
]
