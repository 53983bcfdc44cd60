"""DynamoDB Local as a service; tables are on disk and survive a restart."""

import contextlib
import hashlib
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from devtools.stack.maven import jars, java
from devtools.stack.service import Service

_JVM = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]
_SOURCE = Path(__file__).with_name("LoopbackServer.java")
_LIST_TABLES = {
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Content-Type": "application/x-amz-json-1.0",
    # DynamoDB Local checks the form of a signature only; any credentials do.
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
}


class DynamoDB(Service):
    scheme = "http://"

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)

    def command(self) -> Sequence[str]:
        folder = jars("dynamodb")
        classes = f"{folder}/*:{_loopback_server()}"
        program = [java(), *_JVM, f"-Djava.library.path={folder}", "-cp", classes, _SOURCE.stem]
        options = ["-port", str(self.port), "-sharedDb", "-dbPath", str(self.folder / "data"), "-disableTelemetry"]
        return [*program, *options]

    def is_healthy(self) -> bool:
        return is_healthy(self.address)


def _loopback_server() -> Path:
    """The folder of the compiled `LoopbackServer`; the first call compiles it (2-4 s)."""
    libraries, source = jars("dynamodb"), _SOURCE.read_bytes()
    target = libraries.parent / f"loopback-server-{hashlib.sha256(source + libraries.name.encode()).hexdigest()[:12]}"
    if not target.exists():
        with TemporaryDirectory(dir=libraries.parent) as work:
            compiler = [java(), "-cp", f"{jars('compiler')}/*", "org.eclipse.jdt.internal.compiler.batch.Main", "-17"]
            classpath = os.pathsep.join(map(str, libraries.glob("*.jar")))
            subprocess.run([*compiler, "-cp", classpath, "-d", f"{work}/classes", str(_SOURCE)], check=True)
            with contextlib.suppress(OSError):  # another process was faster
                Path(work, "classes").rename(target)
    return target


def is_healthy(url: str) -> bool:
    """Whether ListTables is answered. A 4xx counts: AWS itself refuses the placeholder signature."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", _LIST_TABLES), timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
