"""Requests of all kinds that the OpenAPI description allows, and that it forbids: none is a fault of ours or hangs.

``MMSTREAM_OPENAPI_CASES`` is how many each of the three routes gets that take something; the others have one each. A
long run by hand, 10,204 in all: ``MMSTREAM_OPENAPI_CASES=3400 python -m pytest tests/test_server_openapi.py``.
"""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import served
from tests.test_server_live import UNHURRIED

CASES = int(os.environ.get("MMSTREAM_OPENAPI_CASES", "20"))
WAIT_S = 30.0
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

pytestmark = pytest.mark.timeout(120 + CASES)


@pytest.fixture(scope="module")
def server(place):
    with served(limits=UNHURRIED, sessions=64) as one:
        yield one


def test_no_request_is_a_fault_of_ours(server):
    described = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 7
    for operation in operations:

        @settings(
            max_examples=CASES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def is_answered(case):
            case.validate_response(case.call(timeout=WAIT_S), checks=CHECKS)

        is_answered()


def test_nothing_is_left_of_them(server, place):
    server.until(lambda service: service.open_sessions == 0, "sessions stay")
    assert [file for folder in place.glob("mmstream-uploads-*") for file in folder.rglob("*") if file.is_file()] == []
