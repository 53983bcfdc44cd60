"""Compiles one Java file; needs no JDK."""

import contextlib
import hashlib
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from devtools.stack.maven import jars, java


def compiled(source: Path, libraries: Path) -> Path:
    """The folder of the classes of `source`, which uses the jars of `libraries`; the first call compiles it (2-4 s)."""
    content = source.read_bytes()
    target = (
        libraries.parent
        / f"{_dashed(source.stem)}-{hashlib.sha256(content + libraries.name.encode()).hexdigest()[:12]}"
    )
    if not target.exists():
        with TemporaryDirectory(dir=libraries.parent) as work:
            compiler = [java(), "-cp", f"{jars('compiler')}/*", "org.eclipse.jdt.internal.compiler.batch.Main", "-17"]
            classpath = os.pathsep.join(map(str, libraries.glob("*.jar")))
            subprocess.run([*compiler, "-cp", classpath, "-d", f"{work}/classes", str(source)], check=True)
            with contextlib.suppress(OSError):  # another process was faster
                Path(work, "classes").rename(target)
    return target


def _dashed(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("-")
