"""A training that is killed, or interrupted by Ctrl-C, at any moment leaves whole files only.

    python kills.py [kill | interrupt | loop] [how many, 10]

kill       SIGKILL: the model, the history, the picture and the cache of the decoded pictures are
           each absent, or what they were, or new, and whole; the next run is right; what is left
           over is removed in time.
interrupt  SIGINT: the same, nothing left over; the command ends with 130, without a traceback.
loop       SIGINT while a script calls fs.train 40 times: it ends the script, not one training.

Half of the moments are drawn from the whole time that an undisturbed run takes, from its first
line on. The others are those at which files change: writing takes some milliseconds of a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.datasets import fashion_mnist, idx

N_TRAIN, N_TEST = 6000, 1000
OUTPUTS = {"save": "model.safetensors", "json": "history.json", "plot": "curves.png"}
DAYS = 24 * 3600.0


# ---- what is killed ----


def child(began: str, *arguments: str) -> int:
    """The command, with the few pictures of this hunt taken for Fashion-MNIST."""
    source = Path(os.environ["FASTSOFTMAX_DATA_DIR"]) / fashion_mnist.NAME
    fashion_mnist.N_TRAIN, fashion_mnist.N_TEST = N_TRAIN, N_TEST
    fashion_mnist.MD5.update(
        {name: hashlib.md5((source / name).read_bytes()).hexdigest() for name in fashion_mnist.MD5}
    )
    Path(began).touch()
    status = cli.main(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what comes after is Python's
    return status


LOOP = """
import sys
import numpy as np
import fastsoftmax as fs
rng = np.random.default_rng(0)
X, y = rng.standard_normal((5000, 100)).astype(np.float32), rng.integers(0, 10, 5000)
open(sys.argv[1], "w").close()
for _ in range(40):
    fs.train((X, y), epochs=10, progress=False)
print("the loop ran to its end")
"""


# ---- the hunt ----


class Hunt:
    def __init__(self, folder: Path, epochs: int = 5) -> None:
        self.epochs = epochs
        self.began = folder / "began"
        self.outputs = folder / "outputs"
        self.outputs.mkdir()
        self.files = {option: self.outputs / name for option, name in OUTPUTS.items()}
        source = folder / "source" / fashion_mnist.NAME
        source.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for prefix, n in (("train", N_TRAIN), ("t10k", N_TEST)):
            images, labels = rng.integers(0, 256, (n, 28, 28)), rng.integers(0, 10, n)
            idx.write_idx(source / f"{prefix}-images-idx3-ubyte.gz", images.astype(np.uint8))
            idx.write_idx(source / f"{prefix}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
        self.cache = folder / "cache" / fashion_mnist.NAME
        self.environment = os.environ | {
            "FASTSOFTMAX_DATA_DIR": str(source.parent),
            "FASTSOFTMAX_CACHE_DIR": str(self.cache.parent),
            "MPLCONFIGDIR": str(folder / "matplotlib"),
        }
        self.run(epochs=1)  # matplotlib looks at all fonts the first time
        self.old = {option: path.read_bytes() for option, path in self.files.items()}
        self.forget_cache()
        self.seconds = self.run()
        self.model = fs.LinearClassifier.load(self.files["save"])
        self.history = json.loads(self.files["json"].read_text())["history"]
        (cache,) = self.cached()
        self.decoded = cache.name, cache.read_bytes()

    def cached(self) -> list[Path]:
        return list(self.cache.glob("decoded-*"))

    def forget_cache(self) -> None:
        for path in self.cached():
            path.unlink()

    def leftovers(self) -> list[Path]:
        known = {self.decoded[0], *OUTPUTS.values()}
        folders = (self.cache, self.outputs)
        return [p for folder in folders for p in folder.iterdir() if p.name not in known]

    def start(self, arguments: list[str], **keywords: Any) -> subprocess.Popen[str]:
        self.began.unlink(missing_ok=True)
        pipe = subprocess.PIPE
        keywords = {"stdout": pipe, "stderr": pipe, "env": self.environment} | keywords
        keywords["cwd"] = self.outputs  # in the source folder fastsoftmax cannot be imported
        process = subprocess.Popen([sys.executable, *arguments], text=True, **keywords)
        while not self.began.exists() and process.poll() is None:
            time.sleep(0.001)
        return process

    def train(self, *options: str, epochs: int = 0, **keywords: Any) -> subprocess.Popen[str]:
        """With these outputs, or with all."""
        outputs = [f"--{option}={self.files[option]}" for option in options or OUTPUTS]
        command = ["train", "--data=fashion-mnist", f"--epochs={epochs or self.epochs}", *outputs]
        return self.start([__file__, "child", str(self.began), *command], **keywords)

    def run(self, epochs: int = 0) -> float:
        """Undisturbed; how long it took from where it can be disturbed."""
        process = self.train(epochs=epochs)
        began = time.monotonic()
        _, err = process.communicate()
        assert (process.returncode, err) == (0, ""), err
        return time.monotonic() - began

    # ---- what must be true afterwards ----

    def check_files(self, all_epochs: bool) -> None:
        new = [
            (option, path)
            for option, path in self.files.items()
            if path.exists() and path.read_bytes() != self.old[option]
        ]
        for option, path in new:
            if option == "save":
                model = fs.LinearClassifier.load(path)
                if all_epochs:
                    assert np.array_equal(model.weight, self.model.weight)
            elif option == "json":
                history = json.loads(path.read_text())["history"]
                n = len(history["train_loss"])
                assert n == self.epochs if all_epochs else n <= self.epochs
                assert history["train_loss"] == self.history["train_loss"][:n]
            else:
                import matplotlib.image

                assert matplotlib.image.imread(path).size > 0
        for path in self.cached():
            assert path.read_bytes() == self.decoded[1], f"{path} is not what it was"

    def wait_for_changes(self, process: subprocess.Popen[str], n: int) -> None:
        """Until the files have changed n times, or the process has ended."""
        before = None
        while n >= 0 and process.poll() is None:
            now = set()
            for path in (*self.cache.glob("*"), *self.outputs.iterdir()):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    now.add((path, status.st_ino, status.st_size, status.st_mtime_ns))
            n -= now != before
            before = now

    def disturb(self, rng: random.Random, number: int) -> tuple[int, str]:
        """One training with this signal at a random moment: its exit status and standard error."""
        for option, path in self.files.items():
            path.unlink(missing_ok=True)
            if rng.random() < 0.5:
                path.write_bytes(self.old[option])
        if rng.random() < 0.7:
            self.forget_cache()
        process = self.train()
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0, self.seconds))
        else:
            self.wait_for_changes(process, rng.randrange(1, 9))
        process.send_signal(number)
        _, err = process.communicate()
        return process.returncode, err

    def kill(self, n: int) -> str:
        rng, n_killed = random.Random(0), 0
        while n_killed < n:  # others had come to their end
            status, _ = self.disturb(rng, signal.SIGKILL)
            n_killed += status == -signal.SIGKILL
            self.check_files(all_epochs=True)
        found = len(self.leftovers())
        assert found <= n_killed, f"{found} files left over by {n_killed} kills"
        long_ago = time.time() - 30 * DAYS
        for path in self.leftovers():
            os.utime(path, (long_ago, long_ago))
        self.forget_cache()
        self.run()
        self.check_files(all_epochs=True)
        left = [path.name for path in self.leftovers() if path.parent == self.cache]
        assert not left, f"old ones are not removed when the cache is written: {left}"
        return f"{n_killed} kills, {found} temporary files left over, removed in the cache"

    def interrupt(self, n: int) -> str:
        rng, statuses = random.Random(1), {0: 0, 130: 0}
        while statuses[130] < n:
            status, err = self.disturb(rng, signal.SIGINT)
            assert status in statuses and "Traceback" not in err, f"exit status {status}\n{err}"
            assert (status == 130) == (err != ""), err
            statuses[status] += 1
            self.check_files(all_epochs=False)
            assert not self.leftovers(), self.leftovers()
        return f"{statuses[130]} interrupted, {statuses[0]} already at their end"

    def loop(self, n: int) -> str:
        rng, arguments = random.Random(2), ["-c", LOOP, str(self.began)]
        process = self.start(arguments)
        began = time.monotonic()
        process.communicate()
        seconds = time.monotonic() - began
        for _ in range(n):
            process = self.start(arguments)
            time.sleep(rng.uniform(0, seconds / 2))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            assert out == "", out
            assert process.returncode == -signal.SIGINT, f"{process.returncode}\n{err}"
            assert "Interrupt" in err.splitlines()[-1], err
        return f"{n} loops ended by one Ctrl-C each"


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "kill"
    if what == "child":
        sys.exit(child(*sys.argv[2:]))
    with tempfile.TemporaryDirectory() as folder:
        print(getattr(Hunt(Path(folder)), what)(int(sys.argv[2]) if len(sys.argv) > 2 else 10))
