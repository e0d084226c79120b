"""Data that is not the real one: small files, a server for them, a user without a home."""

from __future__ import annotations

import functools
import hashlib
import http.server
import logging
import socket
import threading
import time

import numpy as np
import pytest

from fastsoftmax.datasets import fashion_mnist
from fastsoftmax.datasets.idx import write_idx
from helpers.data import NAMES


@pytest.fixture(autouse=True)
def nothing_real(monkeypatch, tmp_path):
    """Keep every test away from the user's folders and from the network."""
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTSOFTMAX_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as bound:  # bound, but nobody listens: connections are refused at once
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        monkeypatch.setattr(fashion_mnist, "MIRRORS", (nobody,))
        yield


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make four small files pass for Fashion-MNIST; return their folder and the true arrays."""
    folder = tmp_path / "source" / "fashion-mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    true = {"folder": folder}
    for part, prefix, n in (("train", "train", 30), ("test", "t10k", 20)):
        true[f"{part}_images"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        true[f"{part}_labels"] = rng.integers(0, 10, n, np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", true[f"{part}_images"])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", true[f"{part}_labels"])
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setattr(fashion_mnist, "MD5", md5)
    monkeypatch.setattr(fashion_mnist, "N_TRAIN", 30)
    monkeypatch.setattr(fashion_mnist, "N_TEST", 20)
    return true


@pytest.fixture
def serve(tmp_path):
    """Serve a folder on 127.0.0.1; return its address and the paths that were asked for."""
    servers = []

    def start(folder, delay=0.0):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                time.sleep(delay)
                super().do_GET()

            def log_message(self, *args):
                pass

        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pooch_lines():
    """The lines of pooch's logger, which caplog does not see."""
    import pooch

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    pooch.get_logger().addHandler(handler)
    yield lines
    pooch.get_logger().removeHandler(handler)


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    """As if the user were in no list, as in a container. Nothing may be written to the folder."""

    def unknown(*args):
        raise KeyError("getpwuid(): uid not found: 12345")

    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "FASTSOFTMAX_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []
