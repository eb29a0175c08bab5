"""Memory that a process may take, within the limit of a container."""

import pytest

from tasks.system.memory import available_bytes, group_room

MEMINFO = "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    8000000 kB\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/memory.current": "700\n",
                "sys/fs/cgroup/memory.stat": "anon 500\ninactive_file 150\n",
            },
            450,
        ),
        # The least of a group and of those above it.
        (
            {
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/box/memory.max": "900\n",
                "sys/fs/cgroup/pod/box/memory.current": "100\n",
                "sys/fs/cgroup/pod/memory.max": "1000\n",
                "sys/fs/cgroup/pod/memory.current": "600\n",
            },
            400,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/a\n3:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "6000\n",
            },
            0,
        ),
    ],
)
def test_room_of_control_groups(tmp_path, files, room):
    write(tmp_path, files)
    assert group_room(tmp_path) == room


def test_the_lesser_of_system_and_container(tmp_path):
    assert available_bytes(tmp_path) is None
    write(tmp_path, {"proc/meminfo": MEMINFO})
    assert available_bytes(tmp_path) == 8_000_000 * 1024
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000000\n"})
    assert available_bytes(tmp_path) == 1_000_000
