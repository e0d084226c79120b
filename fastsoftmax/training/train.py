"""The training loop: one call of the backend for each epoch, and what came of it.

The defaults are the job of *Dive into Deep Learning*, "Concise implementation of softmax
regression" (https://d2l.ai/chapter_linear-classification/softmax-regression-concise.html).
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import numpy as np

from .. import checks, scalars
from ..backends import get_backend
from ..datasets import Dataset
from ..labels import label
from ..model import LinearClassifier
from ..problem import Velocity
from ..settings import CrossEntropy, SGDSettings
from ..threads import check_num_threads
from .data import training_data
from .history import History
from .progress import ProgressBar
from .result import TrainResult
from .schedules import Schedule, lr_at
from .weighting import check_row_weights, class_weights, targets

__all__ = ["train"]


def train(
    data: str | os.PathLike[str] | Dataset | tuple[Any, Any] = "auto",
    *,
    validation_data: tuple[Any, Any] | None = None,
    batch_size: int = 256,
    epochs: int = 10,
    lr: float | Schedule = 0.1,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: Any = None,
    shuffle: bool = True,
    seed: int | None = 0,
    init_std: float = 0.01,
    backend: str = "auto",
    num_threads: int | None = None,
    progress: bool | None = None,
) -> TrainResult:
    """Trains softmax regression by minibatch SGD; with no arguments, the book's job.

    Parameters
    ----------
    data : str, path, Dataset or (X, y)
        A name or an ``.npz`` file for `load_dataset`; or rows X, (N, D) or (N, H, W) and the like,
        float32 or uint8 (pixels, scaled by 1/255), C-contiguous, and labels y, (N,) integers,
        booleans or strings. Rows belong to labels by position: where both are pandas objects, and
        so a `sample_weight`, their indices must be equal.
    validation_data : (X, y), optional
        Evaluated after each epoch by the plain loss and accuracy: no weights, no smoothing; rows
        to ignore are ignored. A dataset brings its own test part.
    batch_size : int
        Rows of a step; the last step of an epoch takes what is left.
    epochs : int
    lr : float or callable
        Learning rate, or a function of the epoch (from 0) that returns it, called as the epoch
        begins: see `optim`.
    momentum, dampening, nesterov, weight_decay
        As in `SGD`, which is as in ``torch.optim.SGD``.
    class_weight : mapping, array_like of shape (K,), or "balanced", optional
        The weight of each label, 1 for one that is not in the mapping, or in the index of a
        pandas Series; weights in the order of the model's classes (sorted, if they come of y);
        or, as in scikit-learn, ``n / (K * count)`` for a class of ``count`` out of ``n`` rows.
        0, or from 1e-30 to 1e30.
    sample_weight : array_like, shape (N,), optional
        The weight of each row. >= 0. Each batch is normalised by itself: its loss is the sum over
        its rows of weight times loss, over the sum of their weights, as PyTorch has the mean with
        class weights. A weight here is a class weight times a sample weight; only ratios matter,
        which may be up to 1e30.
    label_smoothing : float
        In [0, 1]: the part of each target that all classes share, as in `linear_cross_entropy`.
    ignore_index : label, optional
        Rows of this label count for nothing, as do those of weight 0: they may hold NaN. It is no
        class if the classes come of y.
    shuffle : bool
        Whether each epoch takes the rows in a new random order.
    seed : int or None
        >= 0, of the initial weight and the orders of the rows; None takes one from the system.
    init_std : float
        Standard deviation of the initial weight; the bias starts at 0.
    backend : str
        "auto" for the fastest there is.
    num_threads : int, optional
        `get_num_threads` of them where None. The result has the same bits for any.
    progress : bool, optional
        Whether to show a progress bar; None: if standard error is a terminal.

    Returns
    -------
    TrainResult

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind.
    DatasetUnavailableError
        `data` is ``"fashion-mnist"``, and it cannot be had.
    KeyboardInterrupt
        By Ctrl-C. Where training had begun, the exception has the attribute `result`, a
        `TrainResult` with the model so far and the history of its complete epochs.

    Warns
    -----
    UserWarning
        `data` is ``"auto"``, and Fashion-MNIST cannot be had: the stand-in is used.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((1000, 20), dtype=np.float32)
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> result = train((X, y), epochs=5, lr=0.5)
    >>> result.history.train_accuracy[-1] > 0.95
    True
    >>> result.model.predict(X[:3])
    array([1, 1, 0])
    """
    batch_size = scalars.positive_int("batch_size", batch_size)
    epochs = scalars.positive_int("epochs", epochs)
    check_num_threads(num_threads)
    seed = None if seed is None else scalars.integer("seed", seed, least=0)
    init_std = scalars.not_negative("init_std", init_std)
    label_smoothing = CrossEntropy(label_smoothing=label_smoothing).label_smoothing
    shuffle = scalars.boolean("shuffle", shuffle)
    progress = None if progress is None else scalars.boolean("progress", progress)
    if ignore_index is not None:
        ignore_index = label(ignore_index, "ignore_index")
    first_lr = lr_at(lr, 0) if callable(lr) else lr
    sgd = SGDSettings(first_lr, momentum, dampening, nesterov, weight_decay)
    steps = get_backend(backend)

    name, x, y, classes, class_names, test = training_data(
        data, validation_data, sample_weight, ignore_index
    )
    x = checks.rows(x)
    checks.not_empty(len(x))
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((len(classes), x.shape[1]), np.float32) * np.float32(init_std)
    settings: dict[str, Any] = {
        "data": name, "batch_size": batch_size, "epochs": epochs, "lr": [],
        "momentum": sgd.momentum, "dampening": sgd.dampening, "nesterov": sgd.nesterov,
        "weight_decay": sgd.weight_decay, "class_weight": None,
        "sample_weight": sample_weight is not None, "label_smoothing": label_smoothing,
        "ignore_index": ignore_index, "shuffle": shuffle, "seed": seed, "init_std": init_std,
    }  # fmt: skip
    model = LinearClassifier(
        weight,
        np.zeros(len(classes), np.float32),
        classes,
        class_names=class_names,
        settings=settings,
    )
    target = targets(model, y, ignore_index)
    if sample_weight is not None:
        sample_weight = checks.weights("sample_weight", sample_weight, len(x), "rows")
        sample_weight = sample_weight.astype(np.float64)
    criterion = CrossEntropy(class_weights(class_weight, model, target), label_smoothing)
    terms = checks.loss(
        target, criterion, sample_weight, len(x), len(model.weight), model.weight.dtype
    )
    check_row_weights(terms._replace(sample_weight=sample_weight).row_weights())
    if criterion.class_weight is not None:
        model.settings["class_weight"] = criterion.class_weight.tolist()
    if test is not None:
        test_x = checks.rows(test[0], x.shape[1])
        test_target = targets(model, test[1], ignore_index)
        checks.loss(
            test_target, CrossEntropy(), None, len(test_x), len(model.weight), model.weight.dtype
        )
        checks.not_empty(int(np.count_nonzero(test_target >= 0)), "the validation data")
    velocity = Velocity.of(model.weight, model.bias) if sgd.momentum else None

    result = TrainResult(model, History(), name, steps.name)
    bar = ProgressBar(progress, epochs)
    try:
        for epoch in range(epochs):
            if callable(lr) and epoch:
                sgd = replace(sgd, lr=lr_at(lr, epoch))
            model.settings["lr"].append(sgd.lr)
            start = time.perf_counter()
            sums = steps.train_epoch(
                x,
                target,
                rng.permutation(len(x)) if shuffle else None,
                batch_size,
                model.weight,
                model.bias,
                sgd,
                velocity,
                criterion=criterion,
                sample_weight=sample_weight,
                scale=checks.default_scale(x.dtype),
                num_threads=num_threads,
            )
            trained = time.perf_counter()
            if test is not None:
                test_sums = steps.evaluate(
                    test_x,
                    test_target,
                    model.weight,
                    model.bias,
                    criterion=CrossEntropy(),
                    scale=checks.default_scale(test_x.dtype),
                    num_threads=num_threads,
                )
                result.history.add_test(test_sums, time.perf_counter() - trained)
            result.history.add_training(sgd.lr, sums, len(x), trained - start)
            bar.update(result.history)
    except KeyboardInterrupt as interrupt:
        # Not one of our own kind: at an exit by another exception, be it a subclass, Python does
        # not tell the shell of the Ctrl-C, whose loop would then go on.
        result.interrupted = True
        result.history.drop_incomplete()
        interrupt.result = result  # type: ignore[attr-defined]
        raise
    finally:
        bar.close()
    return result
