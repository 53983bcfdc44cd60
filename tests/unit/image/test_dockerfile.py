"""The Dockerfile's text (a build needs Docker): pinned, without devtools in production, not root."""

import configparser
import importlib.util
import re
from typing import Final

import pytest

from devtools.stack.paths import PROJECT

DOCKERFILE: Final = re.sub(r"\\\n", " ", (PROJECT / "Dockerfile").read_text())
#: Stage name → its text.
STAGES: Final = {
    text.splitlines()[0].split()[-1]: text for text in re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]
}
PIN: Final = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
SOURCES: Final = {"setup.cfg", "pyproject.toml", "docs/runbooks.md", "notify_streams", "agents", "tables"}


def pins(file: str) -> dict[str, str]:
    return dict(PIN.findall((PROJECT / file).read_text()))


def names_in(option: str, section: str = "options") -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(PROJECT / "setup.cfg")
    lines = [line for line in setup[section][option].splitlines() if line and not line.startswith("#")]
    return {re.split(r"[\[=<>;]", line)[0].strip().lower() for line in lines}


def copies(stage: str) -> list[str]:
    return re.findall(r"^COPY (.*)$", STAGES[stage], flags=re.MULTILINE)


def sources(stage: str) -> set[str]:
    return {source for line in copies(stage) for source in line.split()[:-1]}


def test_the_image_holds_what_the_package_needs_at_the_versions_that_were_tested() -> None:
    runtime = pins("requirements-runtime.lock")
    assert names_in("install_requires") <= runtime.keys()
    assert runtime.items() <= pins("requirements.lock").items(), "make lock"


def test_the_production_image_holds_no_devtools_no_local_stack_and_no_test_tools() -> None:
    assert sources("compiler") == {"requirements-build.lock"}
    assert sources("build") == SOURCES | {"requirements-runtime.lock"}
    runtime = pins("requirements-runtime.lock")
    others = names_in("stack", "options.extras_require") | names_in("dev", "options.extras_require")
    assert {*runtime} & others == {"setuptools"}
    (removed,) = re.findall(r"pip uninstall --yes ([\w -]+?) +&&", STAGES["build"])
    assert {*removed.split()} == {"pip", "setuptools", *(pins("requirements-build.lock").keys() - runtime.keys())}


def test_only_the_stages_that_build_have_a_compiler() -> None:
    assert [name for name, text in STAGES.items() if re.search(r"\bgcc\b|apt-get", text)] == ["compiler"]
    assert [name for name, text in STAGES.items() if text.startswith("FROM compiler ")] == ["build", "build-dev"]


def test_fausts_extensions_are_imported_when_the_image_is_built() -> None:
    """Faust's set-up leaves them out without an error if they do not compile."""
    (imported,) = re.findall(r'python -c "import ([\w., ]+)"', STAGES["build"])
    for name in imported.split(", "):
        assert importlib.util.find_spec(name) is not None
    assert len(imported.split(", ")) == 3


def test_the_image_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', STAGES["base"]))
    given = dict(re.findall(r"^ARG (\w+)=(\S+)", STAGES["base"], flags=re.MULTILINE))
    assert labels == {"title": "notify-streams"} | {name.lower(): f"${name}" for name in given}
    assert given.keys() == {"VERSION", "REVISION", "SOURCE", "LICENSES"}


def test_the_dev_image_holds_devtools_and_the_local_stack() -> None:
    assert sources("build-dev") == SOURCES | {"requirements.lock", "devtools"}
    assert names_in("stack", "options.extras_require") <= pins("requirements.lock").keys()


@pytest.mark.parametrize(
    ("stage", "lock"), [("build", "requirements-runtime.lock"), ("build-dev", "requirements.lock")]
)
def test_everything_is_installed_by_hash(stage: str, lock: str) -> None:
    installs = re.findall(r"pip install ([^&\n]*)", STAGES["compiler"] + STAGES[stage])
    assert len(installs) == 3
    for options, file in zip(installs, ("requirements-build.lock", lock), strict=False):
        assert {"--require-hashes", "--only-binary", ":all:"} <= {*options.split()}
        assert options.split()[-1] == file
        lines = (PROJECT / file).read_text().split("\n")
        assert all(line.endswith("\\") for line in lines if PIN.match(line)), "a pin without a hash"
    assert "--no-build-isolation" in installs[1], "what builds a package would come without a hash"
    assert {"--no-deps", "--no-build-isolation", "."} <= {*installs[2].split()}


def test_the_default_target_is_production_and_no_target_runs_as_root() -> None:
    assert [*STAGES] == ["compiler", "build", "build-dev", "base", "dev", "runtime"]
    assert copies("runtime") == ["--from=build /opt/notify-streams /opt/notify-streams"]
    assert copies("dev") == [
        "--from=build-dev --chown=10001:10001 /build /build",
        "--from=build-dev /opt/notify-streams /opt/notify-streams",
    ]
    assert STAGES["runtime"].startswith("FROM base ") and STAGES["dev"].startswith("FROM base ")
    assert all(STAGES[name].startswith("FROM python:3.11-slim ") for name in ("compiler", "base"))
    assert re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.MULTILINE) == ["10001:10001"]
    assert "USER" in STAGES["base"] and 'ENTRYPOINT ["notify-streams"]' in STAGES["base"]


def test_the_user_of_the_image_is_the_user_of_the_pods() -> None:
    for file in ("worker.yaml", "prepare.yaml"):
        text = (PROJECT / "k8s" / "base" / file).read_text()
        assert re.findall(r"runAs(?:User|Group): (\d+)", text) == ["10001", "10001"]


def test_what_is_copied_exists_and_is_all_that_the_build_sees() -> None:
    copied = sources("compiler") | sources("build") | sources("build-dev")
    assert all((PROJECT / source).exists() for source in copied)
    ignore = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    assert "config" not in copied, "settings are mounted: a copied old file would be used without an error"
