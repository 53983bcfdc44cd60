"""The Makefile: what it does where an earlier run was interrupted. Python is a script of the test."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devtools.stack.paths import PROJECT
from tests.unit.stack.scripts import executable

#: Makes an environment with a Python that has pip.
PYTHON = """#!/usr/bin/env bash
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p .venv/bin
    printf '#!/bin/sh\\nexit 0\\n' > .venv/bin/python
    chmod +x .venv/bin/python
fi
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and what its first target depends on."""
    shutil.copy(PROJECT / "Makefile", tmp_path / "Makefile")
    for name in ("requirements.lock", "setup.cfg", "pyproject.toml"):
        (tmp_path / name).touch()
    executable(tmp_path / "bin" / "python", PYTHON)
    return tmp_path


@pytest.mark.parametrize("pip", ["exit 0", "exit 1", None], ids=["with pip", "without pip", "none"])
def test_an_environment_without_pip_is_made_anew(checkout: Path, pip: str | None) -> None:
    """Ctrl-C while `python -m venv` installs pip leaves such a one, and each later target failed in it."""
    if pip is not None:
        executable(checkout / ".venv" / "bin" / "python", f"#!/bin/sh\n{pip}\n")
    command = ["make", ".venv/.installed", f"PYTHON={checkout / 'bin' / 'python'}"]
    # A `make` that runs the tests hands on its own variables, as `VENV`.
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (checkout / ".venv" / ".installed").exists()
