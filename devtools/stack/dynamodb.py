"""DynamoDB Local as a service; tables are on disk and survive a restart."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.java_classes import compiled
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
        classes = f"{folder}/*:{compiled(_SOURCE, folder)}"
        program = [java(), *_JVM, f"-Djava.library.path={folder}", "-cp", classes, _SOURCE.stem]
        options = ["-port", str(self.port), "-sharedDb", "-dbPath", str(self.folder / "data"), "-disableTelemetry"]
        return [*program, *options]

    def is_healthy(self) -> bool:
        return is_healthy(self.address)


def is_healthy(url: str) -> bool:
    """Whether ListTables is answered. A 4xx counts: AWS itself refuses the placeholder signature."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", _LIST_TABLES), timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
