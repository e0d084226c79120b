"""The command ``fastsoftmax``: train, evaluate, predict, info."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from . import _build_info
from .checks import Array
from .config import show_config
from .datasets import is_file, load_dataset, npz
from .files import check_output, same_file
from .json_values import write_json
from .labels import labels
from .model import LinearClassifier
from .terminal import plain, write
from .training.result import TrainResult
from .training.train import train

_DATA_HELP = "auto, fashion-mnist, synthetic, or an .npz file with arrays {} (%(default)s)"

# As shells have them
_WRONG, _BY_SIGINT, _BY_SIGPIPE = 2, 130, 141

# What is not a fault of ours: files and settings that are wrong, memory that is not enough
_ERRORS = (
    OSError, ImportError, ArithmeticError, EOFError, MemoryError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments.

    Words come last: whatever standard output is, what was to be written to files is there.

    Returns
    -------
    int
        The exit code: 2 for an error, which is told in one line; 130 for Ctrl-C; 141 where nobody
        reads standard output any more, as of a program that the signal of it ended.
    """
    words = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(words):
            warnings.showwarning = _show_warning
            code = _run(argv)
        return _say(words.getvalue(), code)
    except SystemExit as stop:  # of argparse, for --help, --version, and what it does not take
        raise SystemExit(_say(words.getvalue(), int(stop.code or 0))) from None
    except KeyboardInterrupt:
        _tell("interrupted")
        return _BY_SIGINT


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
        return args.run(args) or 0
    except _ERRORS as error:
        _tell(f"error: {_reason(error)}")
        return _WRONG


def _say(words: str, code: int) -> int:
    """Prints on standard output; the exit code, which was `code` until then."""
    if not words:
        return code
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        write(sys.stdout, words)
        return code
    except BrokenPipeError:
        failed = _BY_SIGPIPE
    except (OSError, ValueError) as error:
        _tell(f"error: standard output: {_reason(error)}")
        failed = _WRONG
    _abandon(sys.stdout)
    return code or failed


def _tell(message: str) -> None:
    """Prints on standard error, if there is one."""
    try:
        write(sys.stderr, f"fastsoftmax: {message}\n")
    except (AttributeError, OSError, ValueError):
        _abandon(sys.stderr)


def _abandon(stream: TextIO | None) -> None:
    """Lets what is left in a broken stream be written to nowhere, as Python ends."""
    with suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


def _reason(error: BaseException) -> str:
    return _one_line(error) or type(error).__name__


def _one_line(message: object) -> str:
    return plain(" ".join(str(message).split()))


def _show_warning(message: Any, *_args: Any, **_kwargs: Any) -> None:
    _tell(f"warning: {_one_line(message)}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is told."""

    def error(self, message: str) -> NoReturn:
        _tell(f"error: {_one_line(message)}")
        self.exit(_WRONG)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastsoftmax", description="Softmax regression on the CPU, as fast as it goes."
    )
    parser.add_argument("--version", action="version", version=_build_info.version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="train a model and show how it went"))

    evaluate = commands.add_parser("evaluate", help="loss and accuracy of a saved model")
    evaluate.set_defaults(run=_evaluate)
    predict = commands.add_parser("predict", help="predicted labels of a saved model")
    predict.set_defaults(run=_predict)
    for command, arrays in (
        (evaluate, "x_test, y_test, x_train, y_train, or x and y"),
        (predict, "x_test, y_test, or x and y, or without labels, or an .npy file of rows"),
    ):
        command.add_argument("model", type=Path, help="a file that train --save wrote")
        command.add_argument("--data", default="auto", help=_DATA_HELP.format(arrays))
    predict.add_argument("--count", type=int, default=18, help="how many test rows (%(default)s)")
    predict.add_argument("--plot", type=Path, metavar="FILE", help="also draw them here")

    info = commands.add_parser("info", help="what was built and what is in use")
    info.set_defaults(run=lambda args: show_config())  # which prints to where it is redirected
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_train)
    arrays = "x_train, y_train, x_test, y_test, or x and y"
    parser.add_argument("--data", default="auto", help=_DATA_HELP.format(arrays))
    parser.add_argument(
        "--epochs", type=int, default=10, help="passes over the data (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=256, help="rows of a step (%(default)s)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (%(default)s)")
    parser.add_argument(
        "--momentum", type=float, default=0.0, help="of the velocity (%(default)s)"
    )
    parser.add_argument(
        "--dampening", type=float, default=0.0, help="of the gradient's part (%(default)s)"
    )
    parser.add_argument("--nesterov", action="store_true", help="Nesterov momentum")
    parser.add_argument("--weight-decay", type=float, default=0.0, help="L2 penalty (%(default)s)")
    parser.add_argument(
        "--class-weight", choices=["balanced"], help="rare classes weigh more: n / (K * count)"
    )
    parser.add_argument(
        "--label-smoothing", type=float, default=0.0, help="in [0, 1] (%(default)s)"
    )
    parser.add_argument("--no-shuffle", action="store_true", help="take the rows as they come")
    parser.add_argument(
        "--seed", type=int, default=0, help="of initial weight and shuffling (%(default)s)"
    )
    parser.add_argument(
        "--init-std", type=float, default=0.01, help="of the initial weight (%(default)s)"
    )
    parser.add_argument(
        "--backend", default="auto", help="auto, cython, numba or numpy (%(default)s)"
    )
    parser.add_argument("--num-threads", type=int, metavar="N", help="all cores if not given")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the model, safetensors")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves, .png or .svg")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write history and settings")


def _check_paths(args: argparse.Namespace, *inputs: str) -> None:
    """Raises for what cannot be written, or would be written over another, before it is begun."""
    taken = {
        name: path for name in inputs if (path := getattr(args, name)) and os.path.exists(path)
    }
    for name in ("save", "plot", "json"):
        path = getattr(args, name, None)
        if path is None:
            continue
        check_output(path)
        for other, its_path in taken.items():
            if same_file(path, its_path):
                other = other if other == "model" else f"--{other}"
                raise ValueError(f"--{name} {path} is the same file as {other} {its_path}")
        taken[name] = path
    if getattr(args, "plot", None):
        from .plots import check_path

        check_path(args.plot)


def _train(args: argparse.Namespace) -> int:
    _check_paths(args, "data")
    try:
        result = train(
            load_dataset(args.data),
            batch_size=args.batch_size,
            epochs=args.epochs,
            lr=args.lr,
            momentum=args.momentum,
            dampening=args.dampening,
            nesterov=args.nesterov,
            weight_decay=args.weight_decay,
            class_weight=args.class_weight,
            label_smoothing=args.label_smoothing,
            shuffle=not args.no_shuffle,
            seed=args.seed,
            init_std=args.init_std,
            backend=args.backend,
            num_threads=args.num_threads,
        )
    except KeyboardInterrupt as interrupt:
        so_far: TrainResult | None = getattr(interrupt, "result", None)
        if so_far is None or len(so_far.history) == 0:
            raise  # nothing that would be better than what is there
        result = so_far
    history = result.history
    record = {
        "dataset": result.dataset,
        "backend": result.backend,
        "settings": result.model.settings,
        "history": history.to_dict(),
    }
    written, failures = [], []
    outputs: list[tuple[Path | None, Callable[[Path], object]]] = [
        (args.save, result.model.save),
        (args.plot, result.plot),
        (args.json, lambda path: write_json(path, record)),
    ]
    for path, write_to in outputs:
        if path is not None:
            try:
                write_to(path)
                written.append(path)
            except _ERRORS as error:  # which is no reason not to write the others
                failures.append(_reason(error))
    n_epochs = f"{len(history)} epoch{'s' * (len(history) != 1)}"
    print(history)
    if history.test_accuracy:
        accuracy, seconds = history.test_accuracy[-1], sum(history.seconds)
        print(f"\ntest accuracy {accuracy:.4f} on {plain(result.dataset)} after {n_epochs}")
        print(f"trained in {seconds:.3f} s by the {result.backend} backend")
    if failures:
        _tell(f"error: {'; '.join(failures)}")
    if result.interrupted:
        what = "".join(f"; wrote {plain(path)}" for path in written)
        _tell(f"interrupted after {n_epochs}{what}")
        return _BY_SIGINT
    return _WRONG if failures else 0


def _evaluate(args: argparse.Namespace) -> None:
    model = LinearClassifier.load(args.model)
    if is_file(args.data):
        name, parts = Path(args.data).name, npz.parts(args.data, purpose="evaluate on")
    else:
        data = load_dataset(args.data)
        name = data.name
        parts = {
            "train": (data.train_images, data.train_labels),
            "test": (data.test_images, data.test_labels),
        }
    parts = {part: (x, y) for part, (x, y) in parts.items() if len(x)}
    if not parts:
        raise ValueError(f"{args.data} has no rows to evaluate on")
    for part, (x, y) in parts.items():
        loss, accuracy = model.evaluate(x, y)
        print(f"{part:<6} loss {loss:.4f}  accuracy {accuracy:.4f}  ({plain(name)})")


def _predict(args: argparse.Namespace) -> None:
    _check_paths(args, "model", "data")
    if args.count < 1:
        raise ValueError(f"--count must be >= 1, got {args.count}")
    model = LinearClassifier.load(args.model)
    if is_file(args.data):
        x, y = npz.rows(args.data)
    else:
        data = load_dataset(args.data)
        x, y = data.test_images, data.test_labels
    if y is not None:
        y = labels(y)
        if len(y) != len(x):
            raise ValueError(f"labels must be {len(x)} as there are rows, got {len(y)}")
        y = y[: args.count]
    x = x[: args.count]
    _print_predictions(model, x, y)
    if args.plot:
        from .plots import predictions

        predictions(model, x, y, args.plot)


def _print_predictions(model: LinearClassifier, x: Array, y: Array | None) -> None:
    classes = model.classes.tolist()
    names = [plain(name) for name in model.class_names or classes]
    predicted = model.encode(model.predict(x)).tolist()
    probability = model.predict_proba(x).max(axis=1)
    if y is None:
        width = max(map(len, names))
        for i, (k, p) in enumerate(zip(predicted, probability, strict=True)):
            print(f"{i:>5}  predicted {names[k]:<{width}}  {p:.3f}")
        return
    name_of = dict(zip(classes, names, strict=True))  # a label that is no class stands for itself
    true = [name_of.get(label, plain(label)) for label in y.tolist()]
    width = max(map(len, names + true))
    for i, (label, name, k, p) in enumerate(
        zip(y.tolist(), true, predicted, probability, strict=True)
    ):
        mark = "" if label == classes[k] else "  wrong"
        print(f"{i:>5}  true {name:<{width}}  predicted {names[k]:<{width}}  {p:.3f}{mark}")


if __name__ == "__main__":
    sys.exit(main())
