"""Text for people: what a command prints, also where a terminal is absent or broken."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

# Exit codes, as shells have them
WRONG, BY_SIGINT, BY_SIGPIPE = 2, 130, 141


def has_terminal() -> bool:
    """Whether standard error is a terminal; windowed programs have no standard error."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, OSError, ValueError):  # None, of another kind, closed
        return False


def plain(text: object) -> str:
    r"""`text` in one line, with an escape for each character that a terminal would obey.

    >>> print(plain("dress\n\x1b[2J"))
    dress\n\x1b[2J
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def one_line(message: object) -> str:
    """A message with single spaces for its line breaks, and `plain`."""
    return plain(" ".join(str(message).split()))


def reason(error: BaseException) -> str:
    """The message of an error in one line, or its type where it has none."""
    return one_line(error) or type(error).__name__


def say(words: str, code: int) -> int:
    """Prints on standard output, and returns the exit code: `code`, or that of a failure."""
    if not words:
        return code
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        _write(sys.stdout, words)
        return code
    except BrokenPipeError:
        failed = BY_SIGPIPE
    except (OSError, ValueError) as error:
        tell(f"error: standard output: {reason(error)}")
        failed = WRONG
    _abandon(sys.stdout)
    return code or failed


def tell(message: str) -> None:
    """Prints on standard error, if there is one."""
    try:
        _write(sys.stderr, f"fastsoftmax: {message}\n")
    except (AttributeError, OSError, ValueError):
        _abandon(sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    """Writes `text` at once, with escapes for what the stream's encoding does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _abandon(stream: TextIO | None) -> None:
    """Sends what a broken stream still holds to nowhere, so that Python can end in peace."""
    with suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)
