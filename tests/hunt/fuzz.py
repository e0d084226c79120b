"""Broken files, made of good ones at random: each is refused as the docstring of its reader says,
or it is read, and what was read is consistent.

    python fuzz.py [how many, 20000] [idx | model | decoded | npz]

The seed is fixed. A format's parts are changed and put together again, with the right lengths and
checksums, so that a change deep inside gets past the outer shell; or else bytes of the whole. An
input with a new outcome, an exception or a message not seen before, becomes one to change further.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
import zipfile
import zlib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.datasets import cache, fashion_mnist, idx
from fastsoftmax.datasets.specification import Parts

SHARES = {"idx": 0.4, "model": 0.35, "decoded": 0.2, "npz": 0.05}
MEMORY = 4 << 30  # bytes; a file of some kilobytes that wants more is a fault,
SECONDS = 5  # and one that takes longer, too
N_TRAIN, N_TEST = 30, 20

NUMBERS = [0, 1, 2, 3, 8, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**53]
NUMBERS += [2**63 - 1, 2**63, 2**64 - 1, 2**64]
VALUES = [*NUMBERS, *(-n for n in NUMBERS), 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan")]
VALUES += [
    10**400,
    None,
    True,
    False,
    "",
    "a",
    "a\0",
    "\ud800",
    "é" * 300,
    "F64",
    "BF16",
    "F8_E5M2",
]
VALUES += [[], {}, [[]], [None], [1, "a"], [0.5], ["a", "a"], [1, 1], [2**63, -1], {"a": {}}]
TOKENS = [b"<f4", b">f8", b"<i8", b">u2", b"|b1", b"|O", b"<U3", b"|S2", b"<M8[s]", b"<c8", b"|V3"]
TOKENS += [
    b"NaN",
    b"-1",
    b"9" * 400,
    b"1e999",
    b"[" * 3000,
    b"{}",
    b"()",
    b"(3,)",
    b"\x00",
    b"\xff",
]
TOKENS += [b"True", b"null", b"\x1f\x8b", b"PK\x03\x04", b"\\u0000", b"1,", b'"', b"'", b"\n"]


# ---- changes ----


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(1 << rng.randrange(4)):
        at = rng.randrange(len(out) + 1)
        if rng.random() < 0.5:  # where the headers are
            at = min(at, rng.randrange(64))
        n = 1 << rng.randrange(8)
        match rng.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                number = struct.pack(rng.choice("<>") + "Q", rng.choice(NUMBERS) % 2**64)
                size = rng.choice([1, 2, 4, 8])
                out[at : at + size] = number[:size]
            case 2:
                del out[at : at + n]
            case 3:
                out[at:at] = rng.randbytes(n)
            case 4:
                token = rng.choice(TOKENS)
                out[at : at + rng.choice([0, len(token)])] = token
            case 5:
                out[at:at] = out[at : at + n]
            case 6 if rng.random() < 0.2:
                del out[at:]
    return bytes(out)


def changed_value(rng: random.Random, value: object) -> object:
    """A value of JSON with something in it replaced, left out or twice; also within strings."""
    if isinstance(value, str) and rng.random() < 0.8:
        try:
            return json.dumps(changed_value(rng, json.loads(value)))
        except ValueError:
            return rng.choice(VALUES)
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        rest = {k: v for k, v in value.items() if k != key}
        match rng.randrange(8):
            case 0:
                return rest
            case 1:
                return rest | {str(rng.choice(VALUES)): value[key]}
        return value | {key: changed_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        i = rng.randrange(len(value))
        middle = [[], [value[i]] * 2, [changed_value(rng, value[i])]][min(rng.randrange(6), 2)]
        return value[:i] + middle + value[i + 1 :]
    return rng.choice(VALUES)


def array_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


# ---- formats: good files, how one is changed, and what reading it must give ----


class Idx:
    refusals = (ValueError,)

    def __init__(self, folder: Path) -> None:
        self.copy = folder / "copy"
        images, labels = np.zeros((3, 4, 5), np.uint8), np.arange(9, dtype=np.uint8)
        self.good = []
        for name, array in (("i", images), ("i.gz", images), ("l", labels), ("l.gz", labels)):
            idx.write_idx(folder / name, array)
            self.good.append((folder / name).read_bytes())

    def change(self, rng: random.Random, content: bytes) -> bytes:
        if content.startswith(b"\x1f\x8b") and rng.random() < 0.7:
            try:
                return gzip.compress(changed_bytes(rng, gzip.decompress(content)), 1, mtime=0)
            except (OSError, EOFError, zlib.error):
                pass
        return changed_bytes(rng, content)

    def read(self, path: Path) -> None:
        try:
            array = idx.read_labels(path)
        except ValueError:
            array = idx.read_images(path)
        assert array.dtype == np.uint8 and array.size and not array.flags.writeable
        assert array.ndim == 3 or array.max() < 10
        idx.write_idx(self.copy, array)
        again = idx.read_images(self.copy) if array.ndim == 3 else idx.read_labels(self.copy)
        assert np.array_equal(array, again)


class Model:
    refusals = (ValueError,)

    def __init__(self, folder: Path) -> None:
        self.copy = folder / "copy"
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((60, 4)).astype(np.float32), rng.integers(0, 3, 60)
        labels = (np.arange(3), np.array([-1, 5, 2**40]), np.array(["a", "", "⊕"]))
        self.good = []
        for classes in (*labels, np.array([2**63, 1, 7], np.uint64)):
            fs.train((x, classes[y]), epochs=1, progress=False).model.save(folder / "m")
            self.good.append((folder / "m").read_bytes())
        model = fs.LinearClassifier(np.eye(2, dtype=np.float32), np.ones(2, np.float32),
                                    [True, False], class_names=["no", "yes"])  # fmt: skip
        model.save(folder / "m")
        self.good.append((folder / "m").read_bytes())

    def change(self, rng: random.Random, content: bytes) -> bytes:
        if rng.random() < 0.2:
            return changed_bytes(rng, content)
        end = 8 + int.from_bytes(content[:8], "little")
        header, data = content[8:end], content[end:]
        try:
            for _ in range(rng.choice([1, 1, 1, 2, 4])):
                header = json.dumps(changed_value(rng, json.loads(header))).encode()
        except (ValueError, RecursionError):
            header = changed_bytes(rng, header)
        if rng.random() < 0.2:
            data = changed_bytes(rng, data)
        if rng.random() < 0.2:
            header = changed_bytes(rng, header)
        return len(header).to_bytes(8, "little") + header + data

    def read(self, path: Path) -> None:
        model = fs.LinearClassifier.load(path)
        rows = np.zeros((2, model.n_features), np.float32)
        assert model.predict(rows).shape == (2,)
        assert model.encode(model.classes).tolist() == list(range(model.n_classes))
        model.save(self.copy)
        again = fs.LinearClassifier.load(self.copy)
        for name in ("weight", "bias"):
            a, b = getattr(model, name), getattr(again, name)
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        assert model.classes.dtype == again.classes.dtype
        for name in ("classes", "class_names", "scale", "settings"):
            assert repr(getattr(model, name)) == repr(getattr(again, name)), name


class Miss(Exception):
    """The decoded cache is not believed."""


class Decoded:
    """What is believed has the labels that were written; pictures are not summed up."""

    refusals = (Miss,)

    def __init__(self, folder: Path) -> None:
        fashion_mnist.N_TRAIN, fashion_mnist.N_TEST = N_TRAIN, N_TEST
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (n, 28, 28), np.uint8) for n in (N_TRAIN, N_TEST)]
        self.labels = [rng.integers(0, 10, n).astype(np.uint8) for n in (N_TRAIN, N_TEST)]
        self.spec = fashion_mnist.specification()
        cache.write_decoded(folder / "d.npy", self.spec, Parts(*images, *self.labels))
        self.good = [(folder / "d.npy").read_bytes()]
        assert cache.open_decoded(folder / "d.npy", self.spec) is not None

    def change(self, rng: random.Random, content: bytes) -> bytes:
        out = changed_bytes(rng, content)
        if rng.random() < 0.3:  # of the right size
            out = out[: len(content)] + content[len(out) :]
        if rng.random() < 0.3:  # and of the right header
            out = content[:128] + out[128:]
        if rng.random() < 0.3:  # within the labels
            at = len(out) - rng.randrange(1, N_TRAIN + N_TEST + 32)
            out = out[:at] + rng.randbytes(1) + out[at + 1 :]
        return out

    def read(self, path: Path) -> None:
        parts = cache.open_decoded(path, self.spec)
        if parts is None:
            raise Miss
        shapes = [(N_TRAIN, 28, 28), (N_TEST, 28, 28), (N_TRAIN,), (N_TEST,)]
        assert [part.shape for part in parts] == shapes
        for part, labels in zip(parts[2:], self.labels, strict=True):
            assert np.array_equal(part, labels), "other labels are believed"


class Npz:
    """Through the command: an exit status of 0, or of 2 with one line that says why."""

    refusals = (ValueError,)
    names = ("x_train", "y_train", "x_test", "y_test")

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((30, 4)).astype(np.float32), rng.integers(0, 3, 30)
        pictures = rng.integers(0, 256, (30, 2, 2), np.uint8)
        kinds = [(x, y), (pictures, y.astype(np.uint8)), (x, np.array(["a", "b", "c"])[y])]
        self.good = [self.join([array_bytes(a[: 30 - 10 * (i > 1)])
                                for i, a in enumerate(kind * 2)]) for kind in kinds]  # fmt: skip
        odd = [np.float32(1), np.zeros(0), np.zeros((0, 4), np.float32), np.arange(30) * 2**40]
        odd += [np.full(30, -1), x.T.copy().T, x.astype(np.float64), np.zeros((30, 2, 2, 1))]
        odd += [np.full((30, 4), np.nan, np.float32), np.array([2**63] * 30, np.uint64), y + 0.5]
        odd += [y.astype(bool), np.array(["é"] * 30), y.astype(">i4"), y.astype("M8[s]"), y * 1j]
        self.odd = [array_bytes(np.asarray(a)) for a in odd]
        self.model = folder / "m"
        fs.train((x, y), epochs=1, progress=False).model.save(self.model)

    def join(self, parts: list[bytes]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, part in zip(self.names, parts, strict=True):
                archive.writestr(f"{name}.npy", part)
        return file.getvalue()

    def change(self, rng: random.Random, content: bytes) -> bytes:
        if rng.random() < 0.2:
            return changed_bytes(rng, content)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                parts = [archive.read(f"{name}.npy") for name in self.names]
        except Exception:  # zipfile has many
            return changed_bytes(rng, content)
        i = rng.randrange(4)
        parts[i] = rng.choice(self.odd) if rng.random() < 0.3 else changed_bytes(rng, parts[i])
        return self.join(parts)

    def read(self, path: Path) -> None:
        train = ["train", "--epochs", "1", "--num-threads", "1"]
        refused = [
            self.run([*command, "--data", str(path)])
            for command in (train, ["evaluate", str(self.model)], ["predict", str(self.model)])
        ]
        if refused[0]:
            raise ValueError(refused[0])

    def run(self, command: list[str]) -> str:
        """The line that says why the command ended with 2, or nothing."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = cli.main(command)
        lines = err.getvalue().splitlines()
        errors = [line for line in lines if not line.startswith("fastsoftmax: warning: ")]
        assert status in (0, 2)
        assert len(errors) == (status == 2), errors
        assert all(line.startswith("fastsoftmax: error: ") for line in errors), errors
        return "".join(errors)


FORMATS = {"idx": Idx, "model": Model, "decoded": Decoded, "npz": Npz}


# ---- the loop ----


def outcome_of(error: Exception, path: Path) -> str:
    """The kind of an exception: its message without the values in it."""
    values = (
        r"(0x)?\b[0-9a-f]{8,}\b|\d[\d.e+-]*|'[^']*'|\"[^\"]*\"|\[[^]]*\]|\([^)]*\)|[^\x20-\x7e]+"
    )
    message = re.sub(values, "_", str(error).replace(str(path), "FILE"))
    return f"{type(error).__name__}: {message[:100]}"


def too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def fuzz(name: str, n: int) -> int:
    """How many of n changed files broke the promise; each kind of them is told once."""
    rng = random.Random(f"{name} 0")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGVTALRM, too_long)
    memory = Path("/dev/shm")
    kept = Path(tempfile.gettempdir()) / f"fastsoftmax-fuzz-{name}"  # what breaks it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        target = FORMATS[name](Path(folder))
        path = Path(folder) / "input.npz"
        corpus, outcomes, faults, n_read = list(target.good), set(), {}, 0
        for i in range(n):
            good = i < len(target.good)
            old = rng.choice(corpus if rng.random() < 0.5 else target.good)
            content = target.good[i] if good else target.change(rng, old)
            path.unlink(missing_ok=True)  # a memory map of it may be in use
            path.write_bytes(content)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                target.read(path)
                n_read += 1
                outcome = "read"
            except Exception as error:
                outcome = "a good file: " * good + outcome_of(error, path)
                if good or not isinstance(error, target.refusals):
                    if outcome not in faults:
                        kept.with_suffix(f".{len(faults)}").write_bytes(content)
                        print(f"{name}: {kept}.{len(faults)}", file=sys.stderr)
                        traceback.print_exc()
                    faults[outcome] = faults.get(outcome, 0) + 1
            if outcome not in outcomes and len(content) < 20_000:
                outcomes.add(outcome)
                corpus.append(content)
    print(f"{name}: {n} inputs, {n_read} of them read, {len(outcomes)} different outcomes")
    for outcome, count in faults.items():
        print(f"{name}: FAULT {count} times: {outcome}")
    return sum(faults.values())


def main(n: int) -> int:
    commands = [
        [sys.executable, "-X", "faulthandler", __file__, str(round(n * share)), name]
        for name, share in SHARES.items()
    ]
    processes = [subprocess.Popen(command) for command in commands]
    return max(abs(process.wait()) for process in processes)


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    sys.exit(bool(fuzz(sys.argv[2], number)) if len(sys.argv) > 2 else main(number))
