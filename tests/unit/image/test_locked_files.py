"""What each supported platform installs: Linux on x86-64 and aarch64, Python 3.11 and 3.13."""

import re
from collections import defaultdict

import pytest
from packaging.utils import canonicalize_name

from devtools.locked_files import PLATFORMS, Platform, installed, of_pylock, pins, read
from devtools.stack.paths import PROJECT

FILES = read((PROJECT / "requirements-files.sha256").read_text())
LOCKS = {
    name: (PROJECT / name).read_text()
    for name in ("requirements.lock", "requirements-runtime.lock", "requirements-build.lock")
}
#: Built by the Dockerfile with the compiler of its build stage, on each platform.
FROM_SOURCE = {"requirements-runtime.lock": {"faust-streaming", "http-ece"}}
FROM_SOURCE["requirements.lock"] = FROM_SOURCE["requirements-runtime.lock"] | {"dkimpy"}


def by_name(platform: Platform, lock: str) -> dict[str, str | None]:
    """Pin → the file that it is on this platform."""
    groups = defaultdict(list)
    for file in FILES:
        groups[canonicalize_name(file.partition("-")[0])].append(file)
        groups[canonicalize_name("-".join(file.split("-")[:2]))].append(file)
    return {name: installed(name, version, groups[name], platform) for name, version in pins(LOCKS[lock]).items()}


@pytest.mark.parametrize("lock", FROM_SOURCE)
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda one: f"{one.python[0]}.{one.python[1]}-{one.processor}")
def test_each_pin_has_a_file_for_the_platform_and_its_hash_is_locked(platform: Platform, lock: str) -> None:
    chosen = by_name(platform, lock)
    assert chosen and not [name for name, file in chosen.items() if file is None], "make lock"
    for file in chosen.values():
        assert file and f"--hash=sha256:{FILES[file]}" in LOCKS[lock]
    sdists = {name for name, file in chosen.items() if file and not file.endswith(".whl")}
    assert sdists <= FROM_SOURCE[lock], "the Dockerfile takes only wheels of it"


def test_faust_has_no_wheel_for_aarch64() -> None:
    """The reason for the compiler in the Dockerfile. If this fails, it may go, for http-ece needs none."""
    for platform in PLATFORMS:
        file = by_name(platform, "requirements-runtime.lock")["faust-streaming"]
        assert file and file.endswith(".tar.gz" if platform.processor == "aarch64" else "x86_64.whl")


def test_the_dockerfile_builds_these_from_their_sdists() -> None:
    text = (PROJECT / "Dockerfile").read_text()
    for lock, names in FROM_SOURCE.items():
        (listed,) = re.findall(rf"--no-binary (\S+) -r {re.escape(lock)}", text)
        assert {*listed.split(",")} == names
        assert all(
            any(canonicalize_name(file).startswith(f"{name}-") and file.endswith(".tar.gz") for file in FILES)
            for name in names
        )


def test_what_builds_them_is_pinned_as_in_the_image() -> None:
    build, all_pins = pins(LOCKS["requirements-build.lock"]), pins(LOCKS["requirements.lock"])
    assert {"setuptools", "setuptools-scm", "wheel", "cython"} <= build.keys()
    assert all(all_pins[name] == version for name, version in build.items() if name in all_pins)


def test_a_pin_without_a_file_for_a_platform_is_refused() -> None:
    wheel = "one-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    text = f"""
[[packages]]
name = "one"
version = "1.0"
wheels = [{{ url = "https://example.org/a/{wheel}", hashes = {{ sha256 = "00" }} }}]
"""
    with pytest.raises(ValueError, match=r"one==1\.0 has no file for .*aarch64"):
        of_pylock(text)
    sdist = '\nsdist = { url = "https://example.org/a/one-1.0.tar.gz", hashes = { sha256 = "01" } }\n'
    assert of_pylock(text + sdist) == {wheel: "00", "one-1.0.tar.gz": "01"}
