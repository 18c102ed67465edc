"""The server against its own description: whatever is sent, what comes back is as described."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance, negative_data_rejection,
]  # fmt: skip
ROUTES = (
    "POST /v1/chat/completions", "POST /v1/completions", "GET /v1/models", "GET /v1/models/{model}",
    "GET /v1/samples", "GET /health", "GET /metrics",
)  # fmt: skip
#: Most of what the description allows is more than this server takes on.
MODEST = {"model": "toy", "max_tokens": 2, "max_completion_tokens": 2, "n": 1, "logit_bias": None}


@pytest.fixture(scope="package")
def description(live):
    return schemathesis.openapi.from_url(f"{live.url}/openapi.json")


def test_every_route_is_described(description):
    assert {found.ok().label for found in description.get_all_operations()} == set(ROUTES)


@pytest.mark.parametrize(
    ("route", "mode"),
    [(route, GenerationMode.POSITIVE) for route in ROUTES]
    + [(route, GenerationMode.NEGATIVE) for route in ROUTES if route.startswith("POST")],
)
def test_the_server_is_as_it_says(live, description, route, mode):
    method, path = route.split(" ")
    operation = description[path][method]
    seen = Counter()

    @settings(max_examples=40 if method == "POST" else 5, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case):
        if method == "POST" and mode is GenerationMode.POSITIVE:
            case.body = {**case.body, **{k: v for k, v in MODEST.items() if k in case.body}}
        seen[case.call_and_validate(checks=CHECKS).status_code] += 1

    holds()
    if mode is GenerationMode.POSITIVE and path != "/v1/models/{model}":
        assert seen[200]
    assert live.health()[0] == 200
