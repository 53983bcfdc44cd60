"""The Python modules of this repository and the imports between them, read without importing anything."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECT = Path(__file__).parents[3]
PRODUCT = ("notify_streams", "agents", "tables")
ROOTS = (*PRODUCT, "devtools")

Graph = dict[str, set[str]]


def module_files(roots: Iterable[str] = ROOTS) -> dict[str, Path]:
    """Dotted name → file."""
    files = (file for root in roots for file in (PROJECT / root).rglob("*.py"))
    return {_dotted(file.relative_to(PROJECT)): file for file in files}


def import_graph(files: Mapping[str, Path]) -> Graph:
    """Module → modules that it imports anywhere in its text, imports for type checking included."""
    graph: Graph = {}
    for name, file in files.items():
        tree = ast.parse(file.read_text())
        graph[name] = {found for node in ast.walk(tree) for found in _imported(node, files) if found != name}
    return graph


def package_graph(graph: Graph) -> Graph:
    """The same between packages: the first two parts of a dotted name."""
    packages: Graph = defaultdict(set)
    for name, imported in graph.items():
        packages[package_of(name)] |= {package_of(other) for other in imported} - {package_of(name)}
    return dict(packages)


def package_of(module: str) -> str:
    """`notify_streams.outbox.flush_loop` → `notify_streams.outbox`."""
    return ".".join(module.split(".")[:2])


def circles(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def _imported(node: ast.AST, files: Mapping[str, Path]) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name in files]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        modules = [name for name in names if name in files]
        return modules if len(modules) == len(names) else [*modules, *([node.module] if node.module in files else [])]
    return ()


def _dotted(file: Path) -> str:
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")
