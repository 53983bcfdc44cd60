"""The Python modules of this repository and the imports between them, read without importing anything."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import grimp

if TYPE_CHECKING:
    from collections.abc import Iterable

PROJECT = Path(__file__).parents[3]
PRODUCT = ("notify_streams", "agents", "tables")
ROOTS = (*PRODUCT, "devtools")

Graph = dict[str, set[str]]


def module_files(roots: Iterable[str] = ROOTS) -> dict[str, Path]:
    """Dotted name → file."""
    files = (file for root in roots for file in (PROJECT / root).rglob("*.py"))
    return {".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def import_graph() -> Graph:
    """Module → modules and other top-level packages that it imports anywhere in its text, imports for type checking included."""
    graph = grimp.build_graph(*ROOTS, include_external_packages=True, cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def package_graph(graph: Graph) -> Graph:
    """The same between packages: the first two parts of a dotted name."""
    packages: Graph = defaultdict(set)
    for name, imported in graph.items():
        packages[package_of(name)] |= {package_of(other) for other in imported} - {package_of(name)}
    return dict(packages)


def package_of(module: str) -> str:
    """`notify_streams.outbox.flush_loop` → `notify_streams.outbox`."""
    return ".".join(module.split(".")[:2])
