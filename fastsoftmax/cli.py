"""The command ``fastsoftmax``: train, evaluate, predict, info."""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import _build_info
from .config import show_config
from .datasets import Dataset, load_dataset
from .model import LinearClassifier
from .trainer import train

_DATA_HELP = (
    "auto, fashion-mnist, synthetic, or an .npz file with arrays x_train, y_train, x_test, y_test "
    "(%(default)s)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments; the exit code, 2 for an error, 130 for Ctrl-C."""
    args = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            args.run(args)
        except KeyboardInterrupt:
            print("fastsoftmax: interrupted", file=sys.stderr)
            return 130  # as shells have it for Ctrl-C
        except (OSError, ImportError, RuntimeError, TypeError, ValueError) as error:
            print(f"fastsoftmax: error: {_one_line(error)}", file=sys.stderr)
            return 2
    return 0


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


def _show_warning(message: Any, *_args: Any, **_kwargs: Any) -> None:
    print(f"fastsoftmax: warning: {_one_line(message)}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is told."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fastsoftmax: error: {_one_line(message)}\n")


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
    for command in (evaluate, predict):
        command.add_argument("model", type=Path, help="a file that train --save wrote")
        command.add_argument("--data", default="auto", help=_DATA_HELP)
    predict.add_argument("--count", type=int, default=18, help="how many test rows (%(default)s)")
    predict.add_argument("--plot", type=Path, metavar="FILE", help="also draw them here")

    info = commands.add_parser("info", help="what was built and what is in use")
    info.set_defaults(run=lambda args: show_config())
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_train)
    parser.add_argument("--data", default="auto", help=_DATA_HELP)
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


def _data(name: str) -> Dataset:
    """The dataset of that name, or the one in an .npz file of that name."""
    path = Path(name)
    if path.suffix != ".npz":
        return load_dataset(name)
    wanted = ("x_train", "y_train", "x_test", "y_test")
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array")
            missing = sorted(set(wanted) - set(archive.files))
            if missing:
                raise ValueError(f"it has no array {', '.join(missing)}")
            x_train, y_train, x_test, y_test = (archive[name] for name in wanted)
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not data to train on: {error}") from error
    if y_train.dtype.kind not in "iu":
        raise ValueError(f"{path}: y_train must be integers, got {y_train.dtype}")
    class_names = tuple(str(k) for k in range(int(y_train.max(initial=1)) + 1))
    return Dataset(x_train, y_train, x_test, y_test, class_names, path.name)


def _train(args: argparse.Namespace) -> None:
    for path in (args.save, args.plot, args.json):
        if path is not None and not path.resolve().parent.is_dir():
            raise FileNotFoundError(f"the folder of {path} does not exist")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
    if args.plot:
        from .plots import check_path

        check_path(args.plot)
    result = train(
        _data(args.data),
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
    history = result.history
    print(history)
    n_epochs = f"{len(history)} epoch{'s' * (len(history) != 1)}"
    if history.test_accuracy:
        accuracy, seconds = history.test_accuracy[-1], sum(history.seconds)
        print(f"\ntest accuracy {accuracy:.4f} on {result.dataset} after {n_epochs}")
        print(f"trained in {seconds:.3f} s by the {result.backend} backend")
    if args.save:
        result.model.save(args.save)
    if args.plot:
        result.plot(args.plot)
    if args.json:
        record = {
            "dataset": result.dataset,
            "backend": result.backend,
            "settings": result.model.settings,
            "history": history.to_dict(),
        }
        args.json.write_text(json.dumps(_finite(record), indent=2, allow_nan=False) + "\n")
    if result.interrupted:  # after all that was asked for is written, of the epochs so far
        raise KeyboardInterrupt


def _finite(value: Any) -> Any:
    """`value` with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _evaluate(args: argparse.Namespace) -> None:
    model, data = LinearClassifier.load(args.model), _data(args.data)
    for part, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        if len(images) == 0:
            continue
        loss, accuracy = model.evaluate(images, labels)
        print(f"{part:<6} loss {loss:.4f}  accuracy {accuracy:.4f}  ({data.name})")


def _predict(args: argparse.Namespace) -> None:
    model, data = LinearClassifier.load(args.model), _data(args.data)
    if args.count < 1:
        raise ValueError(f"--count must be >= 1, got {args.count}")
    images, labels = data.test_images[: args.count], data.test_labels[: args.count]
    names = model.class_names or tuple(str(label) for label in model.classes)
    predicted = model.encode(model.predict(images))
    probability = model.predict_proba(images).max(axis=1)
    width = max(map(len, names))
    for i, (true, k, p) in enumerate(
        zip(model.encode(labels), predicted, probability, strict=True)
    ):
        mark = "" if true == k else "  wrong"
        print(f"{i:>5}  true {names[true]:<{width}}  predicted {names[k]:<{width}}  {p:.3f}{mark}")
    if args.plot:
        from .plots import predictions

        predictions(model, images, labels, args.plot)


if __name__ == "__main__":
    sys.exit(main())
