"""`notify-streams completion SHELL`: what a shell needs to complete commands."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from notify_streams.cli.lazy_group import PROGRAM
from notify_streams.cli.output import write

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes verbs, options and names of regions.

    \b
    bash, in ~/.bashrc:  eval "$(notify-streams completion bash)"
    zsh, in ~/.zshrc:    eval "$(notify-streams completion zsh)"   (after compinit)
    fish, once:          notify-streams completion fish > ~/.config/fish/completions/notify-streams.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    variable = f"_{PROGRAM}_COMPLETE".replace("-", "_").upper()  # the one that click reads
    write(f"{kind(context.find_root().command, {}, PROGRAM, variable).source()}\n")
