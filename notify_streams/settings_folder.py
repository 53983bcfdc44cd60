"""Where the settings files of regions are, and which regions have one.

Imports nothing but errors: completion in a shell asks for the regions at each key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: In a source checkout the folder with `config/` and the local stack's `.stack/`, whatever the working directory is.
_CHECKOUT: Final = Path(__file__).resolve().parents[1]


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of ``<region>.yaml`` and ``categories.yaml``: ``NOTIFY_CONFIG_DIR``, by default that of the checkout."""
    return Path(environ.get("NOTIFY_CONFIG_DIR") or _CHECKOUT / "config")


def local_overlay(region: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The settings file that the local stack wrote for `region`.

    None if ``NOTIFY_CONFIG_DIR`` is set without ``NOTIFY_STACK_DIR``: only then its service addresses are used as they are.

    Raises:
        SettingsError: the local stack is not up.
    """
    stack, config = environ.get("NOTIFY_STACK_DIR"), config_folder(environ)
    if not (config / f"{region}.yaml").is_file() or (not stack and environ.get("NOTIFY_CONFIG_DIR")):
        return None
    file = Path(stack or _CHECKOUT / ".stack") / f"{region}.yaml"
    if not file.is_file():
        raise SettingsError(
            f"the local stack of region {region} is not running (no {file}): start it with `notify-streams stack up --regions "
            f"{region}`; for other services set NOTIFY_CONFIG_DIR to the folder of their settings"
        )
    return file


def regions_of(folder: Path) -> list[str]:
    """The regions that have a settings file in this folder, sorted."""
    return sorted(file.stem for file in folder.glob("*.yaml") if file.stem != "categories")
