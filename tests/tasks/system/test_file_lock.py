"""File locks that are held, and those that a file system does not have."""

import errno
import fcntl
import os
import re

import pytest

from benchmark.pipeline.workdir import RunError, locked
from benchmark.search.lease import Lease
from tasks.system import file_lock
from tasks.system.errors import StageError


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def reason(request, monkeypatch):
    def refuse(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    return re.escape(os.strerror(request.param))


def test_a_file_system_without_locks_is_named(tmp_path, reason):
    message = f"^--workdir={tmp_path}: its file system has no file locks .{reason}."
    with pytest.raises(RunError, match=message), locked(tmp_path):
        pass
    with pytest.raises(StageError, match=f"lease: its file system has no file locks .{reason}."):
        Lease(tmp_path / "lease")


def test_arrays_are_built_without_locks_and_nothing_is_removed(tmp_path, reason):
    del reason
    with file_lock.builder_lock(tmp_path / "data"), file_lock.exclusive_lock(tmp_path / "data"):
        pass
    assert not file_lock.remove_unused(tmp_path / "data")
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_held_is_another_process(tmp_path, monkeypatch, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match="another process is running here"), locked(tmp_path):
        pass


def test_a_lock_is_seen_without_being_touched(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    assert file_lock.is_locked(path) is False
    with locked(tmp_path):
        assert file_lock.is_locked(path) is True
        assert file_lock.is_locked(tmp_path) is False
    assert file_lock.is_locked(path) is False
    monkeypatch.setattr(file_lock, "_LOCKS", tmp_path / "missing")
    assert file_lock.is_locked(path) is None
