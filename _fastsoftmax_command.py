"""Where the command ``fastsoftmax`` begins.

The import of the package may fail: an environment variable is wrong, or the build does not fit.
This module is outside of the package, so that it can tell such an error in one line.
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
