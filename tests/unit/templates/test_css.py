"""Style sheets become attributes, and no expression or statement changes its place or its text."""

import pytest
from jinja2 import TemplateError

from notify_streams.templates.css import with_inlined_css

PAGE = "<!DOCTYPE html><html><head><style>b { color: red }</style></head><body>%s</body></html>"


def inlined(body: str) -> str:
    return with_inlined_css(PAGE % body, "p { margin: 0 }").partition("<body>")[2].removesuffix("</body></html>")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("<p><b>x</b></p>", '<p style="margin: 0;"><b style="color: red;">x</b></p>'),
        ('{{ "<b>" if a < 1 else "&" }}', '{{ "<b>" if a < 1 else "&" }}'),
        ('<a href="{{ url }}?a={{ b|d(\'\\"\') }}">x</a>', '<a href="{{ url }}?a={{ b|d(\'\\"\') }}">x</a>'),
        (
            "<table><tbody>{% for a in b %}<tr><td>{{ a }}</td></tr>{% endfor %}</tbody></table>",
            "<table><tbody>{% for a in b %}<tr><td>{{ a }}</td></tr>{% endfor %}</tbody></table>",
        ),
        ("{# <b> #}{% raw %}{{ a }}{% endraw %}", "{# <b> #}{% raw %}{{ a }}{% endraw %}"),
        ("{%- if a -%} x {%- endif -%}", "{%- if a -%} x{%- endif -%}"),
    ],
)
def test_only_style_attributes_are_added(body: str, result: str) -> None:
    assert inlined(body) == result


@pytest.mark.parametrize("body", ["<p {% if a %}id=b{% endif %}>x</p>", "<title>{% if a %}x{% endif %}</title>"])
def test_a_statement_where_no_comment_can_be_is_refused(body: str) -> None:
    with pytest.raises(TemplateError, match="plain HTML"):
        inlined(body)
