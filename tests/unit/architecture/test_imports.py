"""Imports: no circles, and the product never imports devtools. setup.cfg has the layers (import-linter)."""

from __future__ import annotations

import subprocess
import sys
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


def test_a_worker_imports_no_clients_and_pages_that_it_has_no_use_for() -> None:
    """Each restart would pay for them, and each worker would keep them: they took a third of a start's CPU time and 15 MB."""
    statement = "import sys, notify_streams.app, notify_streams.web.worker_views; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    unused = {"aiobotocore", "httpx", "markdown_it", "aiosmtplib", "h2", "notify_streams.web.pages.runbook_text"}
    assert unused & set(done.stdout.split()) == set()
