"""npm packages for tests, and the Node.js of the Python package playwright.

Each tarball is downloaded once into the cache, and compared with its sha256.
"""

import hashlib
import io
import shutil
import tarfile
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from devtools.stack.errors import StackFailed
from devtools.stack.paths import cache_folder

_REGISTRY: Final = "https://registry.npmjs.org"
_TIMEOUT_S: Final = 60.0
#: name → version, sha256 of the tarball. grapheme-splitter is all that sms-segments-calculator depends on, the others depend on nothing.
PACKAGES: Final = {
    "sms-segments-calculator": ("1.3.0", "f5baeaa24d17e002538a26e4c3948bf29ee2e35fb9d2c124a393ebcf9ab40489"),
    "sns-validator": ("0.3.5", "7a03818b7ef6436f29495e50378624148c751c4b1b330952fe6bc20ce2a1c5d0"),
    "axe-core": ("4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"),
    "grapheme-splitter": ("1.0.4", "7615f25fb6d0196bf7c407423de690e2d379cf26542b09b40c5eddadb2321931"),
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
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as work:
            Path(work, "all", "node_modules").mkdir(parents=True)
            for name in PACKAGES:
                with tarfile.open(fileobj=io.BytesIO(_tarball(name))) as tar:
                    tar.extractall(work, filter="data")
                shutil.move(Path(work, "package"), Path(work, "all", "node_modules", name))
            Path(work, "all").rename(target)
    return target


def _tarball(name: str) -> bytes:
    version, sha256 = PACKAGES[name]
    url = f"{_REGISTRY}/{name}/-/{name}-{version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            content: bytes = response.read()
    except OSError as error:
        raise StackFailed(f"{url} could not be downloaded ({error}); check the network") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StackFailed(f"{url} is not the pinned file: its sha256 differs from that in {Path(__file__).name}")
    return content
