"""Fixtures for all tests: see closedloop.local.testing."""

pytest_plugins = ("closedloop.local.testing",)
