"""npm packages for tests, and the Node.js of the Python package playwright.

Each tarball is downloaded once into the cache, and compared with its sha256.
"""

import hashlib
import io
import shutil
import tarfile
import urllib.request
from pathlib import Path
from typing import Final

from devtools.once import made_once
from devtools.stack.errors import StackFailed
from devtools.stack.paths import cache_folder

_REGISTRY: Final = "https://registry.npmjs.org"
_TIMEOUT_S: Final = 60.0
#: name → version, sha256 of the tarball. What they depend on is here too, as far as it is used: grapheme-splitter is all that
#: sms-segments-calculator needs.
PACKAGES: Final = {
    "sms-segments-calculator": ("1.3.0", "f5baeaa24d17e002538a26e4c3948bf29ee2e35fb9d2c124a393ebcf9ab40489"),
    "sns-validator": ("0.3.5", "7a03818b7ef6436f29495e50378624148c751c4b1b330952fe6bc20ce2a1c5d0"),
    "axe-core": ("4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"),
    "grapheme-splitter": ("1.0.4", "7615f25fb6d0196bf7c407423de690e2d379cf26542b09b40c5eddadb2321931"),
    # The schemas of external-secrets.io, and what they import.
    "@kubernetes-models/external-secrets": (
        "2.0.0",
        "c1202c6a6caa54afedb4208c1216992b6fcb36cf7623637e0e4a98b70f23ea77",
    ),
    "@kubernetes-models/apimachinery": ("3.0.2", "c4cbb5e7021158d1279180ccb7abb31ae0467165217eced89a9ec9273362227e"),
    "ajv": ("8.17.1", "f09dae78b8cc984dbf178eba92a7b19bff9e5f7c990508f3af0bf8f118770308"),
    # Its bundle for browsers, which needs no other package, runs in Node.js too.
    "@asyncapi/parser": ("3.6.6", "46352c768e39d323525350d3154fb40f5107d21634453bf6dc6631708fcfee33"),
    "@kubernetes-models/validate": ("5.0.2", "a559fe29f5c7ef844fc80c7972b30d0c92b0c4f0591d7a5fc14d39d3926785af"),
}


def node() -> str:
    """The Node.js program."""
    import playwright

    return str(Path(playwright.__file__).parent / "driver" / "node")


def packages() -> Path:
    """A folder with `node_modules` of all packages; the first call downloads them.

    Raises:
        StackFailed: a package could not be downloaded, or is another one.
    """
    target = cache_folder() / "npm" / hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:12]
    return made_once(target, _download)


def _download(work: Path) -> Path:
    """All packages into `work`/all/node_modules; returns `work`/all."""
    (work / "all" / "node_modules").mkdir(parents=True)
    for name in PACKAGES:
        with tarfile.open(fileobj=io.BytesIO(_tarball(name))) as tar:
            tar.extractall(work, filter="data")
        folder = work / "all" / "node_modules" / name
        folder.parent.mkdir(exist_ok=True)
        shutil.move(work / "package", folder)
    return work / "all"


def _tarball(name: str) -> bytes:
    version, sha256 = PACKAGES[name]
    url = f"{_REGISTRY}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            content: bytes = response.read()
    except OSError as error:
        raise StackFailed(f"{url} could not be downloaded ({error}); check the network") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StackFailed(f"{url} is not the pinned file: its sha256 differs from that in {Path(__file__).name}")
    return content
