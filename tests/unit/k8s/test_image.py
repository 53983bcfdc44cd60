"""The Dockerfile by its text, since a build takes Docker: nothing unpinned, nothing of the tests, nobody's root."""

import configparser
import re

from devtools.stack.paths import PROJECT

DOCKERFILE = re.sub(r"\\\n", " ", (PROJECT / "Dockerfile").read_text())
STAGES = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def pins(file: str) -> dict[str, str]:
    return dict(PIN.findall((PROJECT / file).read_text()))


def names_in(option: str, section: str = "options") -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(PROJECT / "setup.cfg")
    lines = [line for line in setup[section][option].splitlines() if line and not line.startswith("#")]
    return {re.split(r"[\[=<>;]", line)[0].strip().lower() for line in lines}


def test_the_image_holds_what_the_package_needs_at_the_versions_that_were_tested() -> None:
    runtime = pins("requirements-runtime.lock")
    assert names_in("install_requires") <= runtime.keys()
    assert runtime.items() <= pins("requirements.lock").items(), "make lock"


def test_the_image_holds_no_local_stack_and_no_test_tools() -> None:
    others = names_in("stack", "options.extras_require") | names_in("dev", "options.extras_require")
    assert {*pins("requirements-runtime.lock")} & others == {"setuptools"}
    assert "pip uninstall --yes setuptools pip" in STAGES[0]


def test_everything_is_installed_by_hash() -> None:
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert installs[0].split()[-1] == "requirements-runtime.lock"
    assert {"--no-deps", "--no-build-isolation", "."} <= {*installs[1].split()}
    blocks = (PROJECT / "requirements-runtime.lock").read_text().split("\n")
    assert all(line.endswith("\\") for line in blocks if PIN.match(line)), "a pin without a hash"


def test_the_last_stage_takes_only_the_result_and_is_nobody_s_root() -> None:
    assert len(STAGES) == 2
    assert all(stage.startswith("FROM python:3.11-slim") for stage in STAGES)
    copies = re.findall(r"^COPY (.*)$", STAGES[-1], flags=re.MULTILINE)
    assert copies == ["--from=build /opt/notify-streams /opt/notify-streams"]
    user = re.findall(r"^USER (\d+):(\d+)$", STAGES[-1], flags=re.MULTILINE)
    assert user == [("10001", "10001")]
    assert 'ENTRYPOINT ["notify-streams"]' in STAGES[-1]


def test_the_user_of_the_image_is_the_user_of_the_pods() -> None:
    for file in ("worker.yaml", "prepare.yaml"):
        text = (PROJECT / "k8s" / "base" / file).read_text()
        assert re.findall(r"runAs(?:User|Group): (\d+)", text) == ["10001", "10001"]


def test_what_is_copied_exists_and_is_all_that_the_build_sees() -> None:
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.*)$", STAGES[0], re.MULTILINE) for source in line.split()[:-1]
    }
    assert all((PROJECT / source).exists() for source in copied)
    ignore = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    assert "config" not in copied, "settings are mounted: an image with yesterday's would start without complaint"
