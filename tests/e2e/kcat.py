"""kcat, where it can be used."""

from __future__ import annotations

import os
import shutil

import pytest

from notify_streams.security import KafkaSecurity


def kcat(security: KafkaSecurity) -> str:
    """The program. Without it, or where it cannot log in, the test is skipped; in CI it must be installed."""
    if security.password:
        pytest.skip("Debian's librdkafka 2.0.2, which kcat uses, cannot log in by SCRAM to Kafka 4")
    found = shutil.which("kcat")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("kcat is not installed (Debian: apt-get install kcat)")
    return found
