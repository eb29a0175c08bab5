"""Child processes: their modules and their home, wherever they are started."""

import os
import pwd
import subprocess
import tempfile

import pytest

from tasks.system.child_process import child_environment, module_command


@pytest.mark.parametrize("package", [True, False])
def test_modules_of_the_current_folder_are_not_taken_for_ours(tmp_path, package):
    for name in ("tasks", "benchmark", "json", "numpy"):
        path = tmp_path / name / "__init__.py" if package else tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise RuntimeError('another module')\n")
    command = [*module_command("tasks"), "list"]
    found = subprocess.run(
        command, env=child_environment(os.environ), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "glue_sst2_v1" in found.stdout


def test_a_user_without_home_gets_the_folder_of_temporary_files(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    assert child_environment({"HOME": "/home/me"})["HOME"] == "/home/me"
    assert child_environment({"HOME": "~"})["HOME"] == tempfile.gettempdir()
    assert "HOME" not in child_environment({})
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert os.path.expanduser("~") == os.environ.get("HOME", "~")  # noqa: PTH111
    assert child_environment({})["HOME"] == tempfile.gettempdir()
