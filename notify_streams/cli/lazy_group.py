"""A click group that imports a verb's module only when the verb is called."""

from __future__ import annotations

import sys
from errno import EPIPE
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem

from notify_streams.cli.output import OutputFailed, local_fault
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Mapping


#: The name of the console script.
PROGRAM: Final = "notify-streams"


class Verb(NamedTuple):
    """Where a verb is implemented (``module:command``), and its line in `--help`."""

    target: str
    help: str

    @property
    def package(self) -> str:
        return self.target.partition(".")[0]

    def load(self) -> click.Command:
        module, _, name = self.target.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


class LazyGroup(click.Group):
    """Reports a `NotifyError`, and a file that cannot be used, as one line, exit status 1.

    A verb whose package is not installed (`devtools` in the production image) is missing in `--help` and fails with a sentence.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, Verb], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(sys.stdout, TextIOWrapper):
            # As on stderr: a terminal that is not UTF-8 shows `\\u2026`, and the rest of the text.
            sys.stdout.reconfigure(errors="backslashreplace")
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            "".join(args).encode()
        except UnicodeEncodeError as error:
            # Python decodes other bytes of an argument to lone surrogates, which no store takes.
            refusal = click.ClickException("an argument is not UTF-8")
            refusal.exit_code = 2
            raise refusal from error
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = self._verbs.get(cmd_name)
        if verb is None:
            return None
        if find_spec(verb.package) is None:
            if ctx.resilient_parsing:
                return None  # a shell asks what may follow
            raise click.ClickException(f"`{cmd_name}` is not in this image; use the `dev` image or a source checkout")
        return verb.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self._installed())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [CompletionItem(name, help=line) for name, line in self._installed() if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def _installed(self) -> list[tuple[str, str]]:
        """Name and help of each verb, sorted."""
        return [(name, verb.help) for name, verb in sorted(self._verbs.items()) if find_spec(verb.package)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NotifyError as error:
            raise click.ClickException(str(error)) from error
        except OutputFailed as failed:
            if failed.error.errno == EPIPE:
                raise failed.error from None  # click ends with status 1 and says nothing
            raise click.ClickException(str(failed)) from failed
        except OSError as error:
            if error.errno == EPIPE or (sentence := local_fault(error)) is None:
                raise
            raise click.ClickException(sentence) from error
