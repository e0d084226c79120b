"""A control group's share of the cores bounds the number of threads."""

import pytest

from fastsoftmax import get_num_threads, set_num_threads, threads

V1 = "3:cpu,cpuacct:{group}\n2:memory:/elsewhere\n1:name=systemd:/\n0::/\n"
V1_MOUNT = "31 23 0:28 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "0::{group}\n"
V2_MOUNT = "41 31 0:38 {root} {mount} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.fixture
def control_group(monkeypatch, tmp_path, default_num_threads):
    """``control_group(version, group, root, limits)``: how many cores of 64 it leaves us."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_PROC", tmp_path)
    monkeypatch.setattr(threads, "_cores", lambda: 64)

    def cores(version, group, root, limits):
        mount = tmp_path / "mounted"
        mount.mkdir(exist_ok=True)
        (tmp_path / "cgroup").write_text((V1 if version == 1 else V2).format(group=group))
        (tmp_path / "mountinfo").write_text(
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            + (V1_MOUNT if version == 1 else V2_MOUNT).format(root=root, mount=mount)
        )
        for folder, limit in limits.items():
            (mount / folder).mkdir(parents=True, exist_ok=True)
            if version == 2:
                (mount / folder / "cpu.max").write_text(limit + "\n")
            else:
                quota, period = limit.split()
                (mount / folder / "cpu.cfs_quota_us").write_text(quota + "\n")
                (mount / folder / "cpu.cfs_period_us").write_text(period + "\n")
        set_num_threads(None)
        return get_num_threads()

    return cores


@pytest.mark.parametrize(
    "version, group, root, limits, expected",
    [
        (2, "/", "/", {"": "50000 100000"}, 1),  # half a core
        (2, "/", "/", {"": "150000 100000"}, 2),
        (2, "/", "/", {"": "400000 100000"}, 4),
        (2, "/", "/", {"": "max 100000"}, 64),
        (2, "/", "/", {}, 64),  # the root of the hierarchy has no such file
        (2, "/a/b", "/", {"a/b": "max 100000", "a": "300000 100000"}, 3),  # of one above
        (2, "/a/b", "/", {"a/b": "200000 100000", "a": "300000 100000"}, 2),
        (2, "/docker/1", "/docker/1", {"": "200000 100000"}, 2),
        (2, "/../1", "/", {"": "200000 100000"}, 2),  # as seen from another namespace
        (2, "/docker/1", "/docker/2", {"": "200000 100000"}, 2),
        (1, "/a", "/", {"a": "50000 100000"}, 1),
        (1, "/a", "/", {"a": "-1 100000", "": "250000 100000"}, 3),
        (1, "/docker/1", "/docker/1", {"": "200000 100000"}, 2),
        (1, "/a", "/", {"a": "-1 100000"}, 64),
        (2, "/", "/", {"": "1000000000 100000"}, 64),
        (2, "/", "/", {"": "nonsense"}, 64),
        (2, "/", "/", {"": "50000 0"}, 64),
        (1, "/", "/", {"": "x y"}, 64),
    ],
)
def test_quota(version, group, root, limits, expected, control_group):
    assert control_group(version, group, root, limits) == expected
    assert threads.threads_for(None, 1 << 40) == expected


def test_omp_num_threads_comes_before_the_quota(control_group, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert control_group(2, "/", "/", {"": "50000 100000"}) == 5


@pytest.mark.parametrize("content", ["", "\n", "0:", "no colon", " - "])
def test_no_quota_of_unknown_files(content, control_group, tmp_path):
    assert control_group(2, "/", "/", {"": "50000 100000"}) == 1
    (tmp_path / "cgroup").write_text(content)
    set_num_threads(None)
    assert get_num_threads() == 64
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text(content)
    set_num_threads(None)
    assert get_num_threads() == 64
