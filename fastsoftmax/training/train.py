"""The training loop: each epoch is one call of the backend's kernels.

The defaults are the job of *Dive into Deep Learning*, "Concise implementation of softmax
regression" (https://d2l.ai/chapter_linear-classification/softmax-regression-concise.html).
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from .. import scalars
from ..backends import get_backend
from ..datasets import Dataset
from ..labels import label
from ..model import LinearClassifier
from ..problem import Params
from ..settings import CrossEntropy, SGDSettings
from ..threads import check_num_threads, threads_for
from .data import training_data
from .history import History
from .progress import ProgressBar
from .result import TrainResult
from .schedules import LearningRates, Schedule
from .weighting import evaluation_loss, training_loss

__all__ = ["train"]


def train(
    data: str | os.PathLike[str] | Dataset | tuple[Any, Any] = "auto",
    *,
    validation_data: tuple[Any, Any] | None = None,
    batch_size: int = 256,
    epochs: int = 10,
    lr: float | Schedule | Any = 0.1,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    l1: float = 0.0,
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
    """Trains softmax regression by minibatch SGD. Without arguments it does the book's job.

    Parameters
    ----------
    data : str, path, Dataset or (X, y)
        A name or an ``.npz`` file for `load_dataset`; or rows X and labels y. Rows are (N, D) or
        (N, H, W) and the like, float32 or uint8 (pixels, scaled by 1/255), C-contiguous. Labels
        are (N,) integers, booleans or strings. Rows belong to labels by position: those of X, y
        and `sample_weight` that are pandas objects must have equal indices.
    validation_data : (X, y), optional
        Evaluated after each epoch by the plain loss and accuracy, without weights and smoothing;
        rows to ignore are ignored. None takes the test part of a dataset.
    batch_size : int
        Rows of a step; the last step of an epoch takes the rest.
    epochs : int
    lr : float, array_like, or callable
        Learning rate: one for all steps, (epochs,) or one for each step, (epochs * n_steps,). A
        function returns that of an epoch, counted from 0, or those of its steps, (n_steps,); it
        is called as the epoch begins. `optim` has such functions.
    momentum, dampening, nesterov, weight_decay, l1
        As in `SGD`, which is as in ``torch.optim.SGD``; `l1` makes weights exactly zero.
    class_weight : mapping, array_like of shape (K,), or "balanced", optional
        A mapping, or a pandas Series by its index, has weights of labels; a label that is not in
        it has weight 1. An array has weights in the order of the model's classes, which are sorted
        if they come from y. "balanced" is ``n / (K * count)`` for a class of ``count`` out of
        ``n`` rows, as in scikit-learn. A weight is 0, or from 1e-30 to 1e30.
    sample_weight : array_like, shape (N,), optional
        The weight of each row, >= 0. It is multiplied by the weight of the row's class. Each batch
        is normalised by itself, as PyTorch has the mean with class weights: the sum of its
        weighted losses is divided by the sum of its weights. Only ratios of weights matter, which
        may be up to 1e30.
    label_smoothing : float
        The part of each target that is spread over all classes, in [0, 1], as in
        `linear_cross_entropy`.
    ignore_index : label, optional
        Rows of this label count for nothing, like rows of weight 0; both may hold NaN. If the
        classes come from y, this label is not one of them.
    shuffle : bool
        Whether each epoch takes the rows in a new random order.
    seed : int or None
        Seed of the initial weight and of the orders of the rows, >= 0; None takes one from the
        system.
    init_std : float
        Standard deviation of the initial weight; the bias starts at 0.
    backend : str
        A name for `get_backend`; "auto" is the fastest that is available.
    num_threads : int, optional
        None means `get_num_threads`. Any number gives the same bits.
    progress : bool, optional
        Whether to show a progress bar; None shows one if standard error is a terminal.

    Returns
    -------
    TrainResult

    Raises
    ------
    TypeError, ValueError
        An argument is of another kind, or out of its range.
    DatasetUnavailableError
        `data` is ``"fashion-mnist"``, and it cannot be had.
    KeyboardInterrupt
        Ctrl-C was pressed. If training had begun, the exception has the attribute `result`, a
        `TrainResult` with the model so far and the history of its complete epochs.

    Warns
    -----
    UserWarning
        `data` is ``"auto"`` and Fashion-MNIST cannot be had, so the stand-in is used.

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
    rates = LearningRates(lr, epochs)
    sgd = SGDSettings(0.0, momentum, dampening, nesterov, weight_decay, l1=l1)
    kernels = get_backend(backend).kernels

    given = training_data(data, validation_data, sample_weight, ignore_index)
    rows = given.source.rows()
    rng = np.random.default_rng(seed)
    shape = len(given.classes), given.source.n_features
    model = LinearClassifier(
        rng.standard_normal(shape, np.float32) * np.float32(init_std),
        np.zeros(shape[0], np.float32),
        given.classes,
        class_names=given.class_names,
        settings={
            "data": given.name, "batch_size": batch_size, "epochs": epochs, "lr": [],
            "momentum": sgd.momentum, "dampening": sgd.dampening, "nesterov": sgd.nesterov,
            "weight_decay": sgd.weight_decay, "l1": sgd.l1, "class_weight": None,
            "sample_weight": sample_weight is not None, "label_smoothing": label_smoothing,
            "ignore_index": ignore_index, "shuffle": shuffle, "seed": seed, "init_std": init_std,
        },
    )  # fmt: skip
    loss = training_loss(
        model,
        given.y,
        rows.n_rows,
        class_weight=class_weight,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    if loss.class_weight is not None:
        model.settings["class_weight"] = loss.class_weight.tolist()
    test = None
    if given.test is not None:
        test_rows = given.test[0].rows()
        test = test_rows, evaluation_loss(model, given.test[1], test_rows.n_rows, ignore_index)
    params = Params(model.weight, model.bias)
    if sgd.momentum:
        params = Params(*params[:2], np.zeros_like(model.weight), np.zeros_like(model.bias))
    batch_size = min(batch_size, rows.n_rows)
    n_steps = -(-rows.n_rows // batch_size)

    result = TrainResult(model, History(), given.name, kernels.name)
    bar = ProgressBar(progress, epochs)
    try:
        for epoch in range(epochs):
            settings = rates.of_epoch(sgd.of_step(first_step=epoch == 0), epoch, n_steps)
            model.settings["lr"].append(settings.lr_of_steps.tolist() or settings.lr)
            start = time.perf_counter()
            if shuffle:
                rows = rows._replace(order=rng.permutation(rows.n_rows))
            threads = threads_for(num_threads, batch_size * model.weight.size)
            sums, error = kernels.train(rows, loss, params, settings, batch_size, threads)
            if error is not None:
                raise error
            trained = time.perf_counter()
            if test is not None:
                threads = threads_for(num_threads, test[0].n_rows * model.weight.size)
                test_sums = kernels.evaluate(*test, params, threads)
                result.history.add_test(test_sums, time.perf_counter() - trained)
            sums = loss.unscaled(sums)
            last_lr = settings.after(n_steps - 1).lr
            result.history.add_training(last_lr, sums, rows.n_rows, trained - start)
            bar.update(result.history)
    except KeyboardInterrupt as interrupt:
        # KeyboardInterrupt itself is raised, no subclass: it alone makes Python tell the shell of
        # the Ctrl-C as it exits, and ends a loop of the shell.
        result.interrupted = True
        result.history.drop_incomplete()
        interrupt.result = result  # type: ignore[attr-defined]
        raise
    finally:
        bar.close()
    return result
