"""Files with tokens and keys, which only their owner may read."""

from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Replace `file` atomically."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_text(text)
    fresh.rename(file)
