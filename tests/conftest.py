"""Fixtures for all tests: see closedloop.local.testing."""

import hypothesis

pytest_plugins = ("closedloop.local.testing",)

# a test judges what happens, not how long it takes: the machine may be busy
hypothesis.settings.register_profile("closedloop", deadline=None)
hypothesis.settings.load_profile("closedloop")
