"""The command ``fastsoftmax``. Over 300 lines, as its four functions share one parser."""

from __future__ import annotations

import argparse
import inspect
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from . import _build_info
from .arrays import Array
from .config import show_config
from .datasets import NAMES, is_file, load_dataset, npz
from .files import check_output, same_file
from .json_values import write_json
from .labels import labels
from .model import LinearClassifier
from .terminal import BY_SIGINT, WRONG, one_line, plain, reason, say, tell
from .training.result import TrainResult
from .training.train import train

# Faults that are not ours: files and settings that are wrong, memory that is not enough
_ERRORS = (
    OSError, ImportError, ArithmeticError, EOFError, MemoryError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip

_DATA_HELP = f"{', '.join(NAMES)}, or an .npz file with arrays {{}} (%(default)s)"

# The arguments of `train` that are options of the command, each with its help. Name, type and
# default of an option are those of the argument.
_TRAIN_OPTIONS = {
    "epochs": "passes over the data",
    "batch_size": "rows of a step",
    "lr": "learning rate, or those of all epochs or steps, separated by commas",
    "momentum": "of the velocity",
    "dampening": "of the gradient's part",
    "nesterov": "Nesterov momentum",
    "weight_decay": "L2 penalty",
    "l1": "L1 penalty of the weight, by a proximal step: exact zeros",
    "class_weight": "rare classes weigh more: n / (K * count)",
    "label_smoothing": "in [0, 1]",
    "shuffle": "take the rows as they come",
    "seed": "of initial weight and shuffling",
    "init_std": "of the initial weight",
    "backend": "auto, cython, numba or numpy",
    "num_threads": "all cores if not given",
}


def _rates(text: str) -> float | list[float]:
    try:
        return [float(rate) for rate in text.split(",")] if "," in text else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: {text!r}") from None


# The type of an option, where it is not that of the argument's default
_TYPES: dict[str, Callable[[str], Any]] = {"lr": _rates}
# What argparse must be told of an argument whose default is None
_WITHOUT_DEFAULT: dict[str, dict[str, Any]] = {
    "class_weight": {"choices": ["balanced"]},
    "num_threads": {"type": int, "metavar": "N"},
}
_DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(train).parameters.items()
}

# The files that a training may write
_OUTPUTS = {
    "save": "write the model, safetensors",
    "plot": "draw the curves, .png or .svg",
    "json": "write history and settings",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments.

    It prints at its very end: files are written even where standard output cannot be.

    Returns
    -------
    int
        The exit code: 2 for an error, told in one line; 130 for Ctrl-C; 141 if nobody reads
        standard output any more, as shells say it of a program that SIGPIPE ended.
    """
    words = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(words):
            warnings.showwarning = _show_warning
            code = _run(argv)
        return say(words.getvalue(), code)
    except SystemExit as stop:  # from argparse: --help, --version, arguments that it refuses
        raise SystemExit(say(words.getvalue(), int(stop.code or 0))) from None
    except KeyboardInterrupt:
        tell("interrupted")
        return BY_SIGINT


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
        return args.run(args) or 0
    except _ERRORS as error:
        tell(f"error: {reason(error)}")
        return WRONG


def _show_warning(message: Any, *_args: Any, **_kwargs: Any) -> None:
    tell(f"warning: {one_line(message)}")


class _Parser(argparse.ArgumentParser):
    """An argument parser that tells an error in one line, as all our errors are told."""

    def error(self, message: str) -> NoReturn:
        tell(f"error: {one_line(message)}")
        self.exit(WRONG)


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
    info.set_defaults(run=lambda args: show_config())
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_train)
    arrays = "x_train, y_train, x_test, y_test, or x and y"
    parser.add_argument("--data", default="auto", help=_DATA_HELP.format(arrays))
    for name, help in _TRAIN_OPTIONS.items():
        default, option = _DEFAULTS[name], name.replace("_", "-")
        if default is None:
            parser.add_argument(f"--{option}", help=help, **_WITHOUT_DEFAULT[name])
        elif default is True:
            parser.add_argument(f"--no-{option}", dest=name, action="store_false", help=help)
        elif default is False:
            parser.add_argument(f"--{option}", action="store_true", help=help)
        else:
            help += " (%(default)s)"
            kind = _TYPES.get(name, type(default))
            parser.add_argument(f"--{option}", type=kind, default=default, help=help)
    for name, help in _OUTPUTS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=help)


def _check_paths(args: argparse.Namespace, *inputs: str) -> None:
    """Raises before any work if an output cannot be written, or is the same file as another."""
    taken = {
        name: path for name in inputs if (path := getattr(args, name)) and os.path.exists(path)
    }
    for name in _OUTPUTS:
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
    options = {name: getattr(args, name) for name in _TRAIN_OPTIONS}
    try:
        result = train(load_dataset(args.data), **options)
    except KeyboardInterrupt as interrupt:
        so_far: TrainResult | None = getattr(interrupt, "result", None)
        if so_far is None or len(so_far.history) == 0:
            raise  # nothing that would be better than what is there
        result = so_far
    written, failures = _write_outputs(args, result)
    history = result.history
    n_epochs = f"{len(history)} epoch{'s' * (len(history) != 1)}"
    print(history)
    if history.test_accuracy:
        accuracy, seconds = history.test_accuracy[-1], sum(history.seconds)
        print(f"\ntest accuracy {accuracy:.4f} on {plain(result.dataset)} after {n_epochs}")
        print(f"trained in {seconds:.3f} s by the {result.backend} backend")
    if failures:
        tell(f"error: {'; '.join(failures)}")
    if result.interrupted:
        what = "".join(f"; wrote {plain(path)}" for path in written)
        tell(f"interrupted after {n_epochs}{what}")
        return BY_SIGINT
    return WRONG if failures else 0


def _write_outputs(args: argparse.Namespace, result: TrainResult) -> tuple[list[Path], list[str]]:
    """The files that were written, and the reasons for which others were not."""
    record = {
        "dataset": result.dataset,
        "backend": result.backend,
        "settings": result.model.settings,
        "history": result.history.to_dict(),
    }
    writers: dict[str, Callable[[Path], object]] = {
        "save": result.model.save,
        "plot": result.plot,
        "json": lambda path: write_json(path, record),
    }
    written, failures = [], []
    for name, write_to in writers.items():
        path = getattr(args, name)
        if path is not None:
            try:
                write_to(path)
                written.append(path)
            except _ERRORS as error:  # the others are written all the same
                failures.append(reason(error))
    return written, failures


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
    name_of = dict(zip(classes, names, strict=True))  # any other label is its own name
    true = [name_of.get(label, plain(label)) for label in y.tolist()]
    width = max(map(len, names + true))
    for i, (label, name, k, p) in enumerate(
        zip(y.tolist(), true, predicted, probability, strict=True)
    ):
        mark = "" if label == classes[k] else "  wrong"
        print(f"{i:>5}  true {name:<{width}}  predicted {names[k]:<{width}}  {p:.3f}{mark}")


if __name__ == "__main__":
    sys.exit(main())
