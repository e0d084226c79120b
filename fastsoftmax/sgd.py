"""The step for those with a loop of their own. Over 300 lines, of which half are docstrings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from . import checks, door, scalars
from .backends.contract import take_steps
from .checks import FLOAT32, FLOATS, Array
from .functional.reduction import backend_for
from .labels import check_index
from .problem import Velocity
from .settings import CrossEntropy, SGDSettings

__all__ = ["SGD", "sgd_step"]

Settings = TypeVar("Settings")


def _kept(settings: Callable[..., Settings]) -> Callable[..., Settings]:
    """`settings`, but made and checked once of the values that each step of a loop gives again."""

    @lru_cache(maxsize=4, typed=True)
    def kept(*values: Any) -> Settings:
        if not all(isinstance(value, _IMMUTABLE) for value in values):
            raise TypeError("an array or a tensor, which may have another value in the next step")
        return settings(*values)

    def of(*values: Any) -> Settings:
        try:
            return kept(*values)
        except TypeError:  # what is not to be kept, or is wrong, which shows below
            return settings(*values)

    return of


_IMMUTABLE = (int, float, np.generic, type(None))
_sgd, _cross_entropy = _kept(SGDSettings), _kept(CrossEntropy)


def sgd_step(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    velocity: Velocity | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    scale: float | None = None,
    num_threads: int | None = None,
) -> float:
    """One fused step of SGD on softmax regression: forward, loss, gradient and update.

    The loss is the mean over the batch of ``log(sum(exp(z))) - z[target]``, with the logits
    ``z = scale * x @ weight.T + bias``; what the options make of it is what they make of
    `linear_cross_entropy`. `weight`, `bias` and `velocity` are updated in place. `SGD` does the
    same, and keeps the velocity.

    Parameters
    ----------
    x : ndarray of float32 or uint8, shape (B, D) or (B, H, W) and the like
        C-contiguous; never copied.
    target : ndarray, shape (B,) or (B, K)
        Classes, integers in ``[0, K)``; or floats, the probabilities of the classes.
    weight : ndarray of float32, shape (K, D)
    bias : ndarray of float32, shape (K,)
        Where both are float64, so may x be, and NumPy computes in float64.
    lr, momentum, dampening, nesterov, weight_decay, l1
        As in `SGD`.
    velocity : Velocity, optional
        Needed where ``momentum > 0``: made once by ``Velocity.of(weight, bias)``.
    class_weight : array_like, shape (K,), optional
        Each 0, or from 1e-30 to 1e30 in magnitude. The mean is then over the sum of
        ``class_weight[target]``.
    sample_weight : array_like, shape (B,), optional
        Finite. Multiplies the loss of each row, and its part in what the mean is over, so that
        only ratios matter.
    label_smoothing : float
        In [0, 1].
    ignore_index : int
        Rows of this target count for nothing, as do those of weight 0: they may hold NaN. A step
        on nothing has the gradient 0.
    scale : float, optional
        By which each feature is multiplied; None is 1/255 for uint8, 1 for float32.
    num_threads : int, optional
        `get_num_threads` of them where None. The result has the same bits for any.

    Returns
    -------
    float
        The mean loss before the update; NaN over nothing.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind, or what is updated shares memory with another argument;
        nothing has been changed then.

    Examples
    --------
    >>> x = np.array([[1, 0], [0, 1]], np.float32)
    >>> weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    >>> loss = sgd_step(x, np.array([0, 1]), weight, bias, lr=4.0)
    >>> round(loss, 4)
    0.6931
    >>> weight
    array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    return _step(
        _sgd(lr, momentum, dampening, nesterov, weight_decay, True, l1), velocity, x, target,
        weight, bias, class_weight, sample_weight, label_smoothing, ignore_index, scale,
        num_threads,
    )  # fmt: skip


def _step(
    settings: SGDSettings,
    velocity: Velocity | None,
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    class_weight: Any,
    sample_weight: Any,
    label_smoothing: float,
    ignore_index: int,
    scale: float | None,
    num_threads: int | None,
) -> float:
    if type(x) is not np.ndarray or type(target) is not np.ndarray:
        check_index(x=x, target=target, sample_weight=sample_weight)
    if type(x) is not np.ndarray:
        float64 = getattr(weight, "dtype", None) == np.float64
        x = checks.rows(x, floats=FLOATS if float64 else FLOAT32)
    if scale is None:
        scale = checks.default_scale(x.dtype)
    criterion = _cross_entropy(class_weight, label_smoothing, ignore_index)
    backend = backend_for(weight)
    problem = door.training_problem(
        x, target, None, weight, bias, settings, velocity, criterion, sample_weight, scale,
        backend.floats,
    )  # fmt: skip
    return take_steps(backend.kernels, problem, None, velocity, num_threads).mean_loss


class SGD:
    """Stochastic gradient descent on a weight and a bias, with the meaning of ``torch.optim.SGD``.

    With ``g`` the gradient of the mean loss, ``w`` a parameter and ``v`` its velocity::

        g += weight_decay * w
        v = momentum * v + (1 - dampening) * g      (first step: v = g)
        w -= lr * (g + momentum * v if nesterov else v)

    and of the weight alone, with ``l1``, the proximal step of an L1 penalty, which makes exact
    zeros. It comes after the update, and momentum remembers nothing of it::

        w = sign(w) * max(abs(w) - lr * l1, 0)

    Parameters
    ----------
    weight : ndarray of float32 or float64, shape (K, D)
    bias : ndarray of the same dtype, shape (K,)
        Both are kept, not copied, and updated in place; C-contiguous. float64 is for NumPy.
    lr : float
        Learning rate, >= 0. The attribute may be assigned at any time, by a schedule of `optim`
        or of your own.
    momentum : float
        >= 0; 0 keeps no velocity.
    dampening : float
        Of the gradient's part in the velocity.
    nesterov : bool
        Needs ``momentum > 0`` and ``dampening == 0``.
    weight_decay : float
        L2 penalty, >= 0.
    decay_bias : bool
        Whether the bias decays like the weight, as in PyTorch.
    l1 : float
        L1 penalty of the weight, >= 0.

    Attributes
    ----------
    weight, bias : ndarray
    velocity : Velocity or None
        What momentum remembers.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind.

    Examples
    --------
    >>> x, target = np.eye(2, dtype=np.float32), np.array([0, 1])
    >>> weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    >>> sgd = SGD(weight, bias, lr=1.0, momentum=0.9)
    >>> for epoch in range(3):
    ...     sgd.lr = 0.5**epoch
    ...     print(round(sgd.step(x, target), 4))
    0.6931
    0.4741
    0.3372
    """

    weight: Array
    bias: Array
    velocity: Velocity | None

    def __init__(
        self,
        weight: Array,
        bias: Array,
        lr: float,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_bias: bool = True,
        l1: float = 0.0,
    ) -> None:
        self._settings = SGDSettings(
            lr, momentum, dampening, nesterov, weight_decay, decay_bias, l1
        )
        self.weight, self.bias = checks.parameters(weight, bias, floats=FLOATS, writeable=True)
        door.no_overlap((self.weight, self.bias), ("weight", "bias"))
        self.velocity = Velocity.of(self.weight, self.bias) if self._settings.momentum else None

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self._settings.lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._settings = replace(self._settings, lr=lr)

    def __repr__(self) -> str:
        return repr(self._settings).replace("SGDSettings", "SGD", 1)

    def step(
        self,
        x: Any,
        target: Any,
        *,
        class_weight: Any = None,
        sample_weight: Any = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        scale: float | None = None,
        num_threads: int | None = None,
    ) -> float:
        """One fused step on rows `x`: the mean loss before it. The arguments are of `sgd_step`."""
        return _step(
            self._settings, self.velocity, x, target, self.weight, self.bias, class_weight,
            sample_weight, label_smoothing, ignore_index, scale, num_threads,
        )  # fmt: skip

    def update(self, grad_weight: Array, grad_bias: Array, total_weight: float = 1.0) -> None:
        """One update by gradients that come from elsewhere, say `linear_cross_entropy_grad`.

        Parameters
        ----------
        grad_weight : ndarray, shape (K, D)
        grad_bias : ndarray, shape (K,)
            C-contiguous, of the dtype of the parameters.
        total_weight : float
            What the gradients are divided by: 1 where they are of a mean loss, the number of rows
            where they are of a sum.

        Raises
        ------
        TypeError, ValueError
            An argument is not of that kind; nothing has been changed then.
        """
        backend_for(self.weight).sgd_update(
            self.weight,
            self.bias,
            grad_weight,
            grad_bias,
            total_weight,
            self._settings,
            self.velocity,
        )

    def state_dict(self) -> dict[str, Any]:
        """Settings and a copy of the velocity, as ``np.savez(file, **state)`` takes them.

        Raises
        ------
        TypeError, ValueError
            What was assigned to `velocity` does not fit the weight and bias.
        """
        state: dict[str, Any] = asdict(self._settings)
        velocity = checks.velocity_of(self._settings, self.velocity, self.weight)
        if velocity is not None:
            weight, bias, started = velocity
            state["velocity_weight"] = weight.copy()
            state["velocity_bias"] = bias.copy()
            state["velocity_started"] = started
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes settings and velocity from what `state_dict` gave, or ``np.load`` of it.

        The velocity is converted to the dtype of the parameters.

        Raises
        ------
        TypeError, ValueError
            Something is missing, or the velocity is not of the shape of the parameters; nothing
            has been changed then.
        """
        if not hasattr(state, "keys"):
            raise TypeError(f"state must be what state_dict gives, got {type(state).__name__}")
        # a state that was saved before there was l1 has none
        names = [name for name in asdict(self._settings) if name != "l1" or name in state]
        settings = SGDSettings(**{name: _of(state, name) for name in names})
        velocity = None
        if settings.momentum:
            velocity = Velocity(
                np.array(_of(state, "velocity_weight"), self.weight.dtype, order="C"),
                np.array(_of(state, "velocity_bias"), self.weight.dtype, order="C"),
                scalars.boolean("velocity_started", _of(state, "velocity_started")),
            )
        checks.velocity_of(settings, velocity, self.weight)
        self._settings, self.velocity = settings, velocity


def _of(state: Mapping[str, Any], name: str) -> Any:
    if name not in state:
        raise ValueError(f"the state has no {name!r}")
    return state[name]
