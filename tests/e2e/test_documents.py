"""Runs the commands of README.md and of `docs/`, page by page, as a reader does: in an empty folder, with an empty home."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from devtools.stack.paths import PROJECT
from tests.console_blocks import DOCS, Block, blocks, pages
from tests.e2e.processes import run_to_end
from tests.e2e.running_region import RunningRegion
from tests.local_services import SECURE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

_PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
#: A command that says "not yet" (exit 1) is repeated, as by a reader who waits for a delivery.
_WITHIN_S = 60
#: A usage error, or a command that is not there, is no reason to wait.
_REPEATED = """
_until=$((SECONDS + {within_s}))
until {{
{command}
}}; do
  _status=$?
  if [ "$_status" != 1 ] || [ "$SECONDS" -ge "$_until" ]; then echo "{place}: exit $_status" >&2; exit 1; fi
  sleep 0.2
done
"""


#: Of a command that must end with this status: it is not repeated.
_FAILING = """
{command}
_status=$?
if [ "$_status" != 1 ]; then echo "{place}: exit $_status" >&2; exit 1; fi
"""


def run_blocks(page: Path) -> list[Block]:
    """The blocks of a page that are run here."""
    return [block for block in blocks(page) if block.language == "console" and _is_run(block)]


def _is_run(block: Block) -> bool:
    if block.marker != "needs":
        return block.marker in ("", "exits 1")
    # The page says that Debian's kcat cannot log in.
    return shutil.which(block.value, path=_PATH) is not None and not (SECURE and block.value == "kcat")


def script(of_page: list[Block]) -> str:
    """One shell runs the blocks of a page, so that a variable of one is there in the next."""
    commands = [
        (_FAILING if block.marker == "exits 1" else _REPEATED).format(
            within_s=_WITHIN_S, command=command, place=block.place
        )
        for block in of_page
        for command in block.commands
    ]
    return "set -uo pipefail\n" + "".join(commands)


#: The page of the first trigger comes first: its user is there on the others.
_PAGES = sorted(filter(run_blocks, pages()), key=lambda page: page != DOCS / "start" / "index.md")


def reader_environ(region: RunningRegion, home: Path) -> dict[str, str]:
    """Of a reader who has nothing but this checkout and its stack."""
    home.mkdir()
    settings = {name: value for name, value in region.environ.items() if name.startswith("NOTIFY_")}
    return settings | {"HOME": str(home), "LANG": "C.UTF-8", "PATH": _PATH, "PYTHONPATH": str(PROJECT)}


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
async def test_the_commands_of_a_page_run(running_region: RunningRegion, tmp_path: Path, page: Path) -> None:
    environ = reader_environ(running_region, tmp_path / "home")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    text = f"cd {shlex.quote(str(folder))}\n{script(run_blocks(page))}"
    done = await run_to_end(["bash", "-c", text], environ)
    assert done.status == 0, f"{done.out[-3000:]}\n{done.err[-3000:]}"
