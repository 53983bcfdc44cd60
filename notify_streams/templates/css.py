"""Puts the rules of style sheets into the elements of an HTML template.

Once, before it is compiled. Mail programs drop style sheets. css-inline parses HTML and knows nothing of Jinja2, so expressions are
replaced by words and statements by comments, which it keeps where they are.
"""

from __future__ import annotations

from secrets import token_hex

from css_inline import CSSInliner
from jinja2 import Environment, TemplateError


def with_inlined_css(source: str, style_sheet: str) -> str:
    """The HTML template with its own ``<style>`` and `style_sheet` inlined.

    Raises:
        TemplateError: not valid, or a statement is where HTML allows no comment, such as among a tag's attributes.
    """
    mark = f"notify{token_hex(8)}x"
    kept: dict[str, str] = {}
    html: list[str] = []
    code: list[str] = []
    for _, kind, text in Environment().lex(source):
        if kind == "data":
            html.append(text)
            continue
        code.append(text)
        if kind.endswith("_end") or kind == "raw_begin":
            stands_for = f"{mark}{len(kept)}z"
            html.append(stand_in := stands_for if kind == "variable_end" else f"<!--{stands_for}-->")
            kept[stand_in] = "".join(code)
            code = []
    inliner = CSSInliner(load_remote_stylesheets=False, extra_css=style_sheet)
    inlined = inliner.inline("".join(html))
    for stand_in, text in kept.items():
        if inlined.count(stand_in) != 1:
            raise TemplateError(f"{text!r} is where only plain HTML can be, or lies twice in what the browser reads")
        inlined = inlined.replace(stand_in, text)
    return inlined
