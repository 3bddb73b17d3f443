"""Where captions end: on the terminal and in files. All run in the user's process and take ``Caption`` and ``Gap``."""

from operators.sinks.json_lines import WALL_CLOCK_KEYS, JsonLines, without_wall_clock
from operators.sinks.outgoing import Outgoing, OutgoingSights
from operators.sinks.plain_text import PlainText
from operators.sinks.subtitles import Srt, WebVtt
from operators.sinks.terminal import Terminal

__all__ = [
    "WALL_CLOCK_KEYS",
    "JsonLines",
    "Outgoing",
    "OutgoingSights",
    "PlainText",
    "Srt",
    "Terminal",
    "WebVtt",
    "without_wall_clock",
]
