"""The files of pinned packages, by Python version and processor.

`make lock` keeps those that the supported platforms install beside the locks (`requirements-files.sha256`).
A lock holds the hashes of all files of a package, without their names, so it does not show what a platform would install.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name, parse_sdist_filename, parse_wheel_filename

PIN: Final = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", re.MULTILINE)
#: Versions of Python that `make check` runs on.
PYTHONS: Final = ((3, 11), (3, 13))
PROCESSORS: Final = ("x86_64", "aarch64")
#: glibc 2.36 is Debian 12's, the oldest system that is supported.
GLIBC_MINOR: Final = 36


class Platform(NamedTuple):
    python: tuple[int, int]
    processor: str

    def tags(self) -> Iterator[Tag]:
        """What a wheel for Linux may have in its name, best first."""
        glibc = [f"manylinux_2_{minor}_{self.processor}" for minor in range(GLIBC_MINOR, 4, -1)]
        old = [f"{name}_{self.processor}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
        systems = [*glibc, *old, f"linux_{self.processor}"]
        yield from cpython_tags(self.python, platforms=systems)
        yield from compatible_tags(self.python, f"cp{self.python[0]}{self.python[1]}", systems)


PLATFORMS: Final = tuple(Platform(python, processor) for python in PYTHONS for processor in PROCESSORS)


def pins(lock: str) -> dict[NormalizedName, str]:
    """A lock's text -> name → version."""
    return {canonicalize_name(name): version for name, version in PIN.findall(lock)}


def read(text: str) -> dict[str, str]:
    """Lines of `<sha256>  <file>` -> file → hash."""
    return {file: sha256 for sha256, file in (line.split() for line in text.splitlines())}


def installed(name: NormalizedName, version: str, files: Iterable[str], platform: Platform) -> str | None:
    """The file of a pin that `platform` installs: its best wheel, else the sdist; None if there is neither."""
    wheels: dict[Tag, str] = {}
    sdist = None
    for file in files:
        if file.endswith(".whl"):
            found, its_version, _, tags = parse_wheel_filename(file)
            if (found, str(its_version)) == (name, version):
                wheels.update(dict.fromkeys(tags, file))
        elif (found_version := parse_sdist_filename(file))[0] == name and str(found_version[1]) == version:
            sdist = file
    return next((wheels[tag] for tag in platform.tags() if tag in wheels), sdist)


def of_pylock(text: str) -> Mapping[str, str]:
    """A resolution in the format of PEP 751 -> file → hash, of the files that `PLATFORMS` install.

    Errors: `ValueError` names the pin and the platform for which there is no file.
    """
    chosen = {}
    for package in tomllib.loads(text)["packages"]:
        found = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
        files = {one["url"].rpartition("/")[2]: one["hashes"]["sha256"] for one in found}
        for platform in PLATFORMS:
            file = installed(canonicalize_name(package["name"]), package["version"], files, platform)
            if file is None:
                raise ValueError(
                    f"{package['name']}=={package['version']} has no file for {platform}; pin another version"
                )
            chosen[file] = files[file]
    return dict(sorted(chosen.items()))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text("".join(f"{sha256}  {file}\n" for file, sha256 in of_pylock(source.read_text()).items()))
