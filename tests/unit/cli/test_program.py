"""The program: its help, verbs that are not installed, errors as one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from devtools.benchmarks.command import bench
from devtools.stack.paths import PROJECT
from notify_streams.cli.audit import regions_in
from notify_streams.cli.lazy_group import LazyGroup, Verb
from notify_streams.cli.main import VERBS, main
from notify_streams.errors import SettingsError

#: A process without devtools, as in the production image.
WITHOUT_DEVTOOLS = """
import sys
sys.modules["devtools"] = None
from notify_streams.cli import main
main(prog_name="notify-streams")
"""


def without_devtools(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT_DEVTOOLS, *arguments], capture_output=True, text=True)


def test_the_help_lists_every_verb_with_its_line() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for name, verb in VERBS.items():
        assert f"  {name}" in done.output and verb.help in done.output


#: Prints the modules that the program has imported when it ends.
MODULES_OF = """
import atexit, sys
atexit.register(lambda: print("imported", *sys.modules, file=sys.stderr))
from notify_streams.cli import main
main(prog_name="notify-streams")
"""
#: Packages that a first answer may import, beside Python's own: all of them take less than 0.2 s of CPU, a client of a service 0.5 s.
QUICK = {"click", "msgspec", "orjson", "mode", "notify_streams", "devtools", "__main__", "__mp_main__", "idna"}
#: What an editable or a frozen installation brings, and what msgspec looks for.
_OF_THE_INSTALLATION = ("__editable__", "_distutils_hack", "_sysconfigdata", "typing_extensions")


def slow_imports(*arguments: str, **environ: str) -> set[str]:
    """The packages beside `QUICK` that one call of the program imports."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES_OF, *arguments], capture_output=True, text=True, env=os.environ | environ
    )
    packages = {name.partition(".")[0] for name in done.stderr.rpartition("imported ")[2].split()}
    assert {"click", "notify_streams"} <= packages, done.stderr
    found = packages - QUICK - set(sys.stdlib_module_names)
    return {name for name in found if not name.startswith(_OF_THE_INSTALLATION)}


def test_the_help_imports_no_verb() -> None:
    program = "import sys; from notify_streams.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & {verb.target.partition(":")[0] for verb in VERBS.values()}
    assert not modules & {"devtools", "msgspec", "yaml"}
    assert slow_imports("--help") == set()


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_help_of_a_verb_imports_nothing_slow(name: str) -> None:
    assert slow_imports(name, "--help") == set()


@pytest.mark.parametrize("name", sorted(bench.list_commands(click.Context(bench))))
def test_the_help_of_a_benchmark_imports_nothing_slow(name: str) -> None:
    assert slow_imports("bench", name, "--help") == set()


@pytest.mark.parametrize("words", ["", "dead-letters ", "send --", "why --region ", "audit --regions us,", "bench "])
def test_completion_imports_nothing_slow(words: str) -> None:
    line = f"notify-streams {words}"
    environ = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    assert slow_imports(_NOTIFY_STREAMS_COMPLETE="bash_complete", **environ) == set()


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_can_be_loaded(name: str) -> None:
    assert isinstance(VERBS[name].load(), click.Command)


def commands_below(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The command and all its subcommands, with their names."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from commands_below(found, f"{name} {below}")


def test_every_command_of_a_region_takes_it_from_notify_region() -> None:
    product = [name for name, verb in VERBS.items() if verb.target.startswith("notify_streams.")]
    commands = [found for name in product for found in commands_below(VERBS[name].load(), name)]
    options = {name: option for name, found in commands for option in found.params if "--region" in option.opts}
    assert {"audit", "doctor", "topics ensure"} <= options.keys()
    assert {name for name, option in options.items() if option.envvar != "NOTIFY_REGION"} == set()


@pytest.mark.parametrize(
    ("words", "region"), [([], "south"), (["--regions", "north,south"], "north"), (["--region", "north"], "north")]
)
def test_the_audit_is_of_the_region_of_the_environment_or_of_those_that_are_given(
    words: list[str], region: str, tmp_path: Path
) -> None:
    environ = {"NOTIFY_REGION": "south", "NOTIFY_CONFIG_DIR": str(tmp_path)}
    done = CliRunner().invoke(main, ["audit", *words], env=environ)
    assert f"{region}.yaml" in done.output, "there are no settings of it"


@pytest.mark.parametrize("text", ["us,eu", "us, eu,us,", " us ,,eu"])
def test_each_region_that_is_named_is_audited_once(text: str) -> None:
    assert regions_in(text) == ["us", "eu"]


def test_an_audit_of_no_region_is_refused() -> None:
    done = CliRunner().invoke(main, ["audit", "--regions", " , "])
    assert done.exit_code == 1 and "name the regions" in done.output


@pytest.mark.parametrize(
    "words",
    [
        ("worker", "--role", "views", "--web-port", "65536"),
        ("worker", "--role", "views", "--loglevel", "LOUD"),
        ("ledger", "--sealed", "--hours", "1e300"),
        ("deliveries", "replay", "an-id", "--expires", "inf"),
        ("failover", "us", "--to", "eu", "--patience", "-1"),
    ],
    ids=" ".join,
)
def test_a_value_that_would_fail_later_is_a_mistake_in_the_command(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, words, env={"NOTIFY_CONFIG_DIR": str(PROJECT / "config")})
    assert done.exit_code == 2 and "Invalid value" in done.output, done.output


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_help_of_every_command_begins_with_a_short_line(name: str) -> None:
    """A list of commands shows its beginning; what is left of a long one is not a sentence."""
    firsts = {
        name: (command.help or "").partition("\n")[0] for name, command in commands_below(VERBS[name].load(), name)
    }
    assert {name: first for name, first in firsts.items() if not 0 < len(first) <= 110} == {}


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if verb.package == "devtools"])
def test_a_verb_of_devtools_says_where_it_is(name: str) -> None:
    done = without_devtools(name)
    assert done.returncode == 1
    assert done.stderr == f"Error: `{name}` is not in this image; use the `dev` image or a source checkout\n"


def test_the_help_omits_verbs_that_are_not_installed() -> None:
    done = without_devtools("--help")
    assert done.returncode == 0
    assert "  audit" in done.stdout
    assert not any(f"  {name} " in done.stdout for name, verb in VERBS.items() if verb.package == "devtools")


def test_an_error_is_one_line() -> None:
    @click.group(cls=LazyGroup, verbs={"fail": Verb(f"{__name__}:fail", "Fail.")})
    def program() -> None: ...

    done = CliRunner().invoke(program, ["fail"])
    assert (done.exit_code, done.output) == (1, "Error: the file is missing\n")


@pytest.mark.parametrize(
    "arguments", [("why", "\udcff"), ("prefs", "get", "a\udcff"), ("users", "add", "u", "--push", "\udc80")]
)
def test_an_argument_that_is_not_utf8_is_refused_in_one_line(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.output) == (2, "Error: an argument is not UTF-8\n")


@click.command()
def fail() -> None:
    raise SettingsError("the file is missing")
