"""Where the command ``fastsoftmax`` begins.

It is no part of the package, whose import itself may fail: by an environment variable, or by a
build that does not fit. That is told in one line, as every other error.
"""

import sys


def main() -> int:
    """Runs the command; the exit code."""
    try:
        from fastsoftmax.cli import main
    except KeyboardInterrupt:
        message, code = "interrupted", 130
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        message, code = "error: " + " ".join(str(error).split()), 2
    else:
        return main()
    if sys.stderr is not None:
        print(f"fastsoftmax: {message}", file=sys.stderr)
    return code
