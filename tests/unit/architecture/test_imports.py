"""Imports: no circles, and the product never imports devtools. setup.cfg has the layers (import-linter)."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

from tests.unit.architecture.source_tree import PRODUCT, Graph, import_graph, package_graph

GRAPH = import_graph()


@pytest.mark.parametrize("graph", [GRAPH, package_graph(GRAPH)], ids=["modules", "packages"])
def test_there_is_no_import_circle(graph: Graph) -> None:
    """A circle raises `CycleError`, which names it."""
    TopologicalSorter(graph).prepare()


def test_the_product_imports_nothing_of_devtools() -> None:
    product = {name: imported for name, imported in GRAPH.items() if name.partition(".")[0] in PRODUCT}
    tools = ("devtools", "tests")
    assert product
    assert {f"{name} -> {one}" for name in product for one in product[name] if one.partition(".")[0] in tools} == set()
