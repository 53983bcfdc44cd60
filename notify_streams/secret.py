"""Text that must not be shown: a password or a token."""

from __future__ import annotations

from pathlib import Path


class Secret:
    """`repr`, `str` and formatting show ``***``; only `reveal` returns the text."""

    __slots__ = ("_text", "file")

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        #: Where the text was read from; None: it was given as a value.
        self.file = file

    @classmethod
    def read(cls, file: Path) -> Secret:
        """The content of `file`, without one newline at its end.

        Raises:
            OSError: the file cannot be read.
            UnicodeDecodeError: it is not UTF-8.
        """
        return cls(file.read_text().removesuffix("\n"), file)

    def reveal(self) -> str:
        """The text. Pass it on at once: never keep it in a `str` field, a log or an error."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"
