"""Words for people: a terminal may be absent, may lack letters, and obeys some of them."""

from __future__ import annotations

import sys
from typing import TextIO


def has_terminal() -> bool:
    """Whether standard error is a terminal; windowed programs have none at all."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, OSError, ValueError):  # None, of another kind, closed
        return False


def plain(text: object) -> str:
    r"""`text` in one line, with escapes where a character would not be seen but obeyed.

    >>> print(plain("dress\n\x1b[2J"))
    dress\n\x1b[2J
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def write(stream: TextIO, text: str) -> None:
    """Writes `text` at once, with escapes for what the stream's encoding does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
