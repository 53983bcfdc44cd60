"""The language of templates: Jinja2 in its sandbox, with a closed list of filters.

A template cannot load another one, reach Python, or switch HTML escaping off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes, pass_context
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notify_streams.templates.formats import Formats, as_text, isolate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Filters of Jinja2 that a template may use. Not `safe`, nor what makes much of little or differs from call to call.
_FILTERS: Final = ("capitalize", "default", "d", "e", "escape", "first", "join", "last", "length", "lower", "replace")
_MORE_FILTERS: Final = ("title", "trim", "truncate", "upper", "urlencode")
#: Filter → method of `Formats`.
_FORMATS: Final = {
    "date": "date",
    "datetime": "date_and_time",
    "money": "money",
    "number": "number",
    "plural": "plural",
    "time": "time",
}
#: Statements that need other templates, or change escaping.
_REFUSED: Final = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport, nodes.ScopedEvalContextModifier)
#: The longest text of one part, in characters. Beyond what any provider takes; it bounds what a sender's data can cost.
MAX_PART: Final = 512 * 1024


class TextTooLong(Exception):
    """A part has more than `MAX_PART` characters."""


class _PersonContext(Context):
    """The values of one rendering: the data, and the formats of the person."""

    formats: Formats


class _Environment(ImmutableSandboxedEnvironment):
    context_class = _PersonContext

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``order.items`` is the value of the data, not the method of Python."""
        if isinstance(obj, dict):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


class Variables:
    """What a part asks of the data. A name that is tested (`is defined`, `default`) is optional."""

    def __init__(self, tree: nodes.Template) -> None:
        tests = (node.node for node in tree.find_all(nodes.Test) if node.name in ("defined", "undefined"))
        defaults = (node.node for node in tree.find_all(nodes.Filter) if node.name in ("default", "d"))
        tested = {node.name for node in (*tests, *defaults) if isinstance(node, nodes.Name)}
        used = find_undeclared_variables(tree)
        self.required = frozenset(used - tested)
        self.optional = frozenset(used & tested)


class Part:
    """One compiled file.

    Raises:
        TemplateError: the source is not valid.
    """

    def __init__(self, source: str, name: str, *, html: bool) -> None:
        environment = _HTML if html else _TEXT
        tree = environment.parse(source, name)
        if refused := [node for kind in _REFUSED for node in tree.find_all(kind)]:
            raise TemplateError(f"line {refused[0].lineno}: `{type(refused[0]).__name__.lower()}` is not possible here")
        self.variables = Variables(tree)
        #: A text without any expression is its own rendering.
        self._literal = source if not html and "{" not in source else None
        self._template = environment.from_string(source)
        self._name = name

    def render(self, data: Mapping[str, Any], formats: Formats) -> str:
        """The text for these values.

        Raises:
            TextTooLong
            Exception: of any type, from an expression that the data does not fit.
        """
        if self._literal is not None:
            return self._literal
        template = self._template
        # The data is the context itself: a copy, as `Template.render` makes it, takes half of the time.
        context = _PersonContext(template.environment, data, self._name, template.blocks)  # type: ignore[arg-type]
        context.formats = formats
        pieces = []
        left = MAX_PART
        for piece in template.root_render_func(context):
            left -= len(piece)
            if left < 0:
                raise TextTooLong
            pieces.append(piece)
        return "".join(pieces)


def _finalize(value: Any) -> Any:
    """What an expression prints: text as it is, nothing for null, else JSON. An undefined value raises when it is printed."""
    if isinstance(value, (str, Undefined)):
        return value
    return "" if value is None else as_text(value)


def _format(method: str) -> Callable[..., str]:
    function: Callable[..., str] = getattr(Formats, method)

    @pass_context
    def formatted(context: _PersonContext, value: Any, *arguments: Any, **named: Any) -> str:
        if isinstance(value, Undefined):
            str(value)  # raises
        return function(context.formats, value, *arguments, **named)

    return formatted


def _environment(*, html: bool) -> _Environment:
    environment = _Environment(undefined=StrictUndefined, autoescape=html, finalize=_finalize, cache_size=0)
    known = environment.filters
    environment.filters = {name: known[name] for name in (*_FILTERS, *_MORE_FILTERS)}
    environment.filters |= {name: _format(method) for name, method in _FORMATS.items()}
    environment.filters["isolate"] = isolate
    environment.globals.clear()
    return environment


_TEXT: Final = _environment(html=False)
_HTML: Final = _environment(html=True)
