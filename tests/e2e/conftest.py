"""One running system for the tests that only use it."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from closedloop.local.addresses import SERVICES, Ports
from closedloop.local.stack import Stack
from closedloop.local.testing import temporary_folder


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole stack on free ports, in a folder of its own."""
    with temporary_folder() as folder, Stack(folder, Ports.free()) as stack:
        yield stack


def call(
    stack: Stack, service: str, method: str, path: str, token: str | None, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """(status, headers, JSON body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports.of(service), timeout=30)
    try:
        sent = {"Content-Type": "application/json", **headers} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    answered = {key.lower(): value for key, value in response.getheaders()}
    return response.status, answered, json.loads(text) if text and "json" in answered.get("content-type", "") else text.decode()


def routes(stack: Stack) -> list[tuple[str, str, str]]:
    """(service, method, path template) of everything that the running services offer."""
    found = []
    for service in SERVICES:
        _, _, document = call(stack, service, "GET", "/openapi.json", None)
        found += [(service, method.upper(), path) for path, item in document["paths"].items() for method in item]
    return found
