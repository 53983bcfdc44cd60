"""`python -m devtools.sizing`: prints the plan of a region, or writes its page."""

from __future__ import annotations

import argparse
import sys

from devtools.sizing.inputs import PEOPLE, RATE, inputs
from devtools.sizing.page import page
from devtools.stack.paths import PROJECT


def main() -> None:
    parser = argparse.ArgumentParser(description="The size of a region, from measured figures.")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--rate", type=int, default=RATE, help="triggers a second in a burst")
    parser.add_argument("--write", action="store_true", help="write docs/sizing.md")
    chosen = parser.parse_args()
    if chosen.people < 1 or chosen.rate < 1:
        parser.error("--people and --rate must be positive")
    text = page(inputs(chosen.people, chosen.rate))
    if chosen.write:
        (PROJECT / "docs" / "sizing.md").write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
