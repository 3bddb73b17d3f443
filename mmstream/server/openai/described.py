"""The routes that take forms, for the OpenAPI page: FastAPI cannot see what is read from the body as it comes."""

from __future__ import annotations

import copy
from typing import Any, get_args

from mmstream.server.formats import Format, Granularity

Schema = dict[str, Any]

FIELDS: Schema = {
    "file": {"type": "string", "format": "binary", "description": "Sound or video in any format that ffmpeg reads."},
    "model": {"type": "string", "default": "auto", "description": "A name of /v1/models, auto, or one of OpenAI's."},
    "language": {"type": "string", "description": "Spoken language, such as en; without it each utterance's own."},
    "prompt": {"type": "string", "description": "Accepted, and without effect."},
    "response_format": {"type": "string", "enum": list(get_args(Format)), "default": "json"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1, "description": "Accepted, and without effect."},
    "timestamp_granularities[]": {
        "type": "array",
        "items": {"type": "string", "enum": list(get_args(Granularity))},
        "description": "What verbose_json holds: words, segments (the default), or both.",
    },
    "stream": {"type": "boolean", "default": False, "description": "Server-sent events; for json and text."},
}
TRANSLATE: Schema = {
    "type": "string",
    "description": "Languages to translate into, such as de or de,fr: those of /v1/models. json and verbose_json "
    "have them beside the transcript; text, srt and vtt are in that one language.",
}

_TEXT: Schema = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "translations": {
            "type": "object",
            "description": "By language. With verbose_json also words and segments, like the transcript's own.",
            "additionalProperties": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
        },
    },
    "required": ["text"],
}
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


def _fault(description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": _ERROR}}}


FAULTS: dict[int | str, Schema] = {
    400: _fault("A field has no meaning, or the file is no media that can be heard."),
    401: _fault("A token is needed."),
    403: _fault("Pages of that origin may not ask."),
    404: _fault("No such model is served."),
    408: _fault("The body came too slowly."),
    413: _fault("The file, or the form, is too large."),
    429: _fault("Too many requests, or sessions at a time."),
    503: _fault("There is no room now, or the server is ending."),
}


def _described(texts: Schema, fields: Schema) -> Schema:
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": fields}}
            },
        },
        "responses": {
            "200": {
                "description": "The transcript, in the format that was asked for.",
                "content": {
                    "application/json": {"schema": texts},
                    "text/plain": {"schema": {"type": "string"}},
                    "text/vtt": {"schema": {"type": "string"}},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            }
        },
    }


TRANSCRIPTION = _described(_TEXT, {**FIELDS, "translate": TRANSLATE})
TRANSLATION = copy.deepcopy(_described(_TEXT, FIELDS))
