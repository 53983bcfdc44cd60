"""DynamoDB Local. In: a port and a folder; out: a URL; any credentials will do. Tables are on disk, as the real service loses none."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.maven import jars, java
from devtools.stack.service import Service

_JVM = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]
_MAIN = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
_ASK = {
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Content-Type": "application/x-amz-json-1.0",
    # It checks the form of a signature, not the signature.
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
}


class DynamoDB(Service):
    def __init__(self, name: str, folder: Path, port: int) -> None:
        super().__init__(name, folder)
        self._port = port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)

    def command(self) -> Sequence[str]:
        folder = jars("dynamodb")
        program = [java(), *_JVM, f"-Djava.library.path={folder}", "-cp", f"{folder}/*", _MAIN]
        return [
            *program,
            "-port",
            str(self._port),
            "-sharedDb",
            "-dbPath",
            str(self.folder / "data"),
            "-disableTelemetry",
        ]

    def answers(self) -> bool:
        return answers(self.address)


def answers(url: str) -> bool:
    """Whether it lists its tables. An HTTP error is an answer of the real service, which wants a true signature."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, b"{}", _ASK), timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
