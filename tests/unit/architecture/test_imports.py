"""Imports: no circles, and the product never imports devtools. setup.cfg has the layers (import-linter)."""

from __future__ import annotations

import ast

import pytest

from tests.unit.architecture.source_tree import (
    PRODUCT,
    circles,
    import_graph,
    module_files,
    package_graph,
)

GRAPH = import_graph(module_files())


def test_no_import_circle_between_modules() -> None:
    assert circles(GRAPH) == []


def test_no_import_circle_between_packages() -> None:
    assert circles(package_graph(GRAPH)) == []


def test_the_product_imports_nothing_of_devtools() -> None:
    product = module_files(PRODUCT)
    found = {
        f"{name} -> {node.module if isinstance(node, ast.ImportFrom) else alias.name}"
        for name, file in product.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        in ("devtools", "tests")
    }
    assert found == set()


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, [["b", "c"]]),
        ({"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": {"d"}}, [["d", "e"], ["a", "b", "c"]]),
    ],
    ids=["chain", "pair", "pair in a chain", "two circles"],
)
def test_a_circle_is_found(graph: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(graph) == expected
