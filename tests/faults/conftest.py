"""What the tests of faults share."""

from __future__ import annotations

import pytest


@pytest.fixture
def database(server):
    """A client of an empty database: these tests say nothing about the wire, so it is but one."""
    with server.client() as client:
        client.flushdb()
        yield client
