"""Spans to an OpenTelemetry collector too: where OTEL_EXPORTER_OTLP_ENDPOINT is set and an OTLP exporter is installed.

    pip install opentelemetry-exporter-otlp-proto-http

A session is one trace, the same in every process; each packet in a node is a span below the session's.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from mmstream.observe.spans import Exporter, Span

log = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def exporter(run: float, worker: str, environment: Mapping[str, str] = os.environ) -> Exporter | None:
    """What sends the spans of a run's worker to the collector; None where none is named, or nothing can reach it."""
    if not environment.get(ENDPOINT):
        return None
    try:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        otlp: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as fault:
        log.warning("%s is set, but %s is missing: spans are not sent there", ENDPOINT, fault.name)
        return None
    return OpenTelemetry(BatchSpanProcessor(otlp.OTLPSpanExporter()), run, worker)


class OpenTelemetry:
    """Hands spans to a span processor of the OpenTelemetry SDK."""

    def __init__(self, processor: Any, run: float, worker: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        resource = Resource.create({"service.name": "mmstream", "service.instance.id": worker})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("mmstream")
        self._run = run

    def export(self, spans: Sequence[Span]) -> None:
        for span in spans:
            told: dict[str, Any] = {
                "mmstream.session": span.session,
                "mmstream.media.start_s": span.start,
                "mmstream.media.end_s": span.end,
                "mmstream.payload": span.kind,
                "mmstream.waited_s": span.waited_s,
                "mmstream.batch": span.batch,
            }
            began, ended = round(1e9 * span.began), round(1e9 * span.ended)
            within = self._session(span.session)
            self._tracer.start_span(span.node, within, attributes=told, start_time=began).end(ended)

    def _session(self, session: str) -> Any:
        """The context of a session's trace, which every process derives from the same name and run."""
        from opentelemetry import trace

        digest = hashlib.sha256(f"{self._run} {session}".encode(errors="surrogatepass")).digest()
        trace_id, span_id = int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1
        place = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(place))
