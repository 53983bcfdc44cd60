"""What verbs share: options, settings, how they run, what they print.

Verbs import what connects to services inside their functions, so that `--help` and mistakes in a command are answered at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from notify_streams.cli.region_completion import complete_region

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from notify_streams.preferences.categories import Categories
    from notify_streams.settings import Settings

Result = TypeVar("Result")

#: All but tab and line feed, which a text may have.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: Errors of a file or of this process, which no service that is away explains. ENOENT: there is no folder for temporary files.
_LOCAL: Final = frozenset(
    (
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOENT,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    )
)


class OutputFailed(Exception):
    """Nothing more can be printed. Not an `OSError`, which stands for a service that does not answer."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.error = error


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
region_option = click.option(
    "--region",
    envvar="NOTIFY_REGION",
    default="us",
    show_default=True,
    shell_complete=complete_region,
    help="The region whose settings to use.",
)


def settings_of(region: str) -> Settings:
    """The settings of a region: of the local stack, or of the folder in ``NOTIFY_CONFIG_DIR``.

    Raises:
        SettingsError: they are not valid, or the local stack is not up.
    """
    from notify_streams.settings import load_settings
    from notify_streams.settings_folder import local_overlay

    return load_settings(region, overlay=local_overlay(region))


def categories_of() -> Categories:
    """The categories of ``categories.yaml``."""
    from notify_streams.preferences.categories import configured_categories

    return configured_categories()


def run(work: Coroutine[Any, Any, Result], *regions: Settings, interrupted: str = "") -> Result:
    """The result of `work`, which uses the services of these regions.

    Args:
        interrupted: printed after Ctrl-C or SIGTERM: what may have been done by then, and what to do.

    Raises:
        StoreUnavailable: a service failed; the message names those that do not answer now.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # drivers log each attempt; the verb says what failed
    try:
        return run_async(_run(work, regions))
    except KeyboardInterrupt:
        if interrupted:
            print_progress(f"interrupted: {interrupted}")
        raise


def stop_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP of a terminal that is closed: not where it is ignored, as below `nohup`."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM] if is_ignored else [signal.SIGTERM, signal.SIGHUP]


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`. SIGTERM and SIGHUP cancel `work` and no other task, so that it stops what it has started.

    As Ctrl-C, but also where that is ignored, as in the background jobs of a script.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    is_stopped = False

    async def until_stopped() -> Result:
        task = asyncio.current_task()
        assert task is not None
        cancel = task.cancel

        def stop() -> None:
            nonlocal is_stopped
            is_stopped = True
            cancel()

        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                asyncio.get_running_loop().add_signal_handler(number, stop)
        return await work

    try:
        return asyncio.run(until_stopped())
    except asyncio.CancelledError:
        if is_stopped:
            raise KeyboardInterrupt from None
        raise


async def _run(work: Coroutine[Any, Any, Result], regions: Sequence[Settings]) -> Result:
    try:
        return await work
    except Exception as error:
        # Here, because these import the errors of all drivers, a second of CPU, and most commands end well.
        from notify_streams.admin.regions_asked import AWAY, why_away
        from notify_streams.admin.services import faults
        from notify_streams.errors import StoreUnavailable
        from notify_streams.kafka import missing_right

        if not isinstance(error, AWAY) or (isinstance(error, OSError) and local_fault(error) is not None):
            raise
        found = {one.region: await faults(one) for one in regions}
        if sentence := next(filter(None, (missing_right(one.kafka_connection(), error) for one in regions)), None):
            raise StoreUnavailable(sentence) from error
        down = {region: faults_there for region, faults_there in found.items() if faults_there}
        if down:
            sentences = "; ".join(
                f"region {region}: {'; '.join(fault.sentence for fault in faults_there)}"
                for region, faults_there in down.items()
            )
            if all(fault.refused for faults_there in down.values() for fault in faults_there):
                raise StoreUnavailable(sentences) from error
            local = any(one.sandbox_record for one in regions)
            remedy = (
                "`notify-streams stack up` starts the local stack" if local else "start them and run the command again"
            )
            raise StoreUnavailable(f"{sentences}: {remedy}") from error
        raise StoreUnavailable(why_away(error)) from error


def local_fault(error: OSError) -> str | None:
    """What is wrong with a file or the disk here; None if the error may be that of a connection."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if error.errno not in _LOCAL:
        return None
    return f"{error.strerror}, on this machine; TMPDIR names the folder of temporary files"


def print_result(as_json: bool, value: dict[str, Any], lines: Sequence[str], *, styled: bool = False) -> None:
    """Print `value` as JSON, or else `lines`; those that are `styled` as they are, and others `visible`."""
    if as_json:
        import orjson

        write(orjson.dumps(value, default=str) + b"\n")
        return
    for line in lines:
        write(f"{line if styled else visible(line)}\n")


def write(text: str | bytes, *, err: bool = False) -> None:
    """Write on stdout, or on stderr, at once. JSON is given as bytes: it is UTF-8 whatever the terminal takes.

    Raises:
        OutputFailed: a pipe has no reader any more, or the disk is full.
    """
    try:
        click.echo(text, nl=False, err=err)
    except OSError as error:
        raise OutputFailed(error) from error


def visible(text: str) -> str:
    """The text with control characters as ``\\x1b``, so that what a sender has written cannot command the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def print_progress(line: str) -> None:
    """Print a line of progress on stderr."""
    write(f"{line}\n", err=True)
