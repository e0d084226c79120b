"""Rows at odd addresses, of memory maps and of pictures give the bits of plain rows."""

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings
from helpers import make_problem, shape_id


def everything(backend, problem, x):
    """What the functions that take rows give, as bytes."""
    _, target, weight, bias = problem
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        x, target, weight, bias, scale=problem.scale
    )
    new_weight, new_bias = problem.parameters()
    order = np.arange(len(x))[::-1]
    trained = backend.train_epoch(
        x, target, order, 20, new_weight, new_bias, SGDSettings(lr=0.1), scale=problem.scale
    )
    evaluated = backend.evaluate(x, target, weight, bias, scale=problem.scale)
    logits = backend.predict_logits(x, weight, bias, scale=problem.scale)
    arrays = (grad_weight, grad_bias, new_weight, new_bias, logits)
    return loss, trained, evaluated, *(a.tobytes() for a in arrays)


@pytest.fixture(params=[(67, 45, 11), (67, 97, 700)], ids=shape_id)
def mixed_problem(request, row_type):
    return make_problem(*request.param, row_type)


@pytest.mark.parametrize("offset", [1, 2, 3, 4, 8, 20, 33])
def test_unaligned_rows(offset, backend, mixed_problem):
    x = mixed_problem.x
    base = np.zeros(x.nbytes + 64 + offset, np.uint8)
    begin = -base.ctypes.data % 64 + offset
    unaligned = base[begin : begin + x.nbytes].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    assert unaligned.ctypes.data % 64 == offset
    expected = everything(backend, mixed_problem, x)
    assert everything(backend, mixed_problem, unaligned) == expected


def test_writeable_and_mapped_rows(backend, mixed_problem, tmp_path):
    x = mixed_problem.x
    assert not x.flags.writeable
    expected = everything(backend, mixed_problem, x)
    assert everything(backend, mixed_problem, x.copy()) == expected
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert everything(backend, mixed_problem, mapped) == expected


@pytest.mark.parametrize("shape", [(28, 28), (14, 28, 2), (784, 1)], ids=shape_id)
def test_pictures(shape, backend, row_type):
    problem = make_problem(67, 784, 10, row_type)
    pictures = problem.x.reshape(67, *shape)
    expected = everything(backend, problem, problem.x)
    assert everything(backend, problem, pictures) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64, ">i4"])
def test_labels_of_every_integer_type(dtype, backend):
    x, target, weight, bias = make_problem(9, 5, 7)
    expected = backend.evaluate(x, target, weight, bias)
    assert backend.evaluate(x, target.astype(dtype), weight, bias) == expected
    assert backend.evaluate(x, target.tolist(), weight, bias) == expected
    assert backend.evaluate(x, np.repeat(target, 2).astype(dtype)[::2], weight, bias) == expected
