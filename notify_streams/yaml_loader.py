"""Reads YAML, and refuses what says one thing twice.

Of a name that a mapping has twice YAML's own loader takes the last value and says nothing: a second `providers:` at the end of a file would set
all that the first one gives back to the defaults. A value that contains itself is refused too, because whatever walks through it has no end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

_MERGE: Final = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Node | None:
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.CollectionNode) and node.end_mark is None:  # an alias, and its anchor is not complete
            raise yaml.composer.ComposerError(None, None, "a value contains itself", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (name := (key.tag, key.value)) in lines:
                problem = f"a name is there twice, first in line {lines[name]} and again"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            lines[name] = key.start_mark.line + 1
        return node


def load_yaml(text: str) -> Any:
    """The value of a document, of plain types.

    Raises:
        YAMLError: it is not YAML, has a name twice in a mapping, or contains itself. Its `problem` repeats no value.
        ValueError: for example a date that there is not.
        RecursionError: it is too deep.
    """
    return yaml.load(text, Loader=_Loader)
