"""Settings of a checkpoint that a run starts from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.config.checks import Checked, setting


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Checked):
    """A Hugging Face directory: `config.json`, the weights, and the files of its tokenizer.

    Results depend on its content, so the fingerprint has the digest and neither the place nor the name.
    """

    # Environment variables in it are expanded when the run starts.
    directory: str = setting(changes_results=False)
    # The name of the published revision; it is written into the record, and nothing checks it.
    revision: str = setting("", changes_results=False)
    # Digest of the files that a run reads; other files are refused. "" takes what is there, and the run fills it in.
    sha256: str = setting("", pattern=r"([0-9a-f]{64})?")
    # Reads `pytorch_model.bin` where there are no safetensors. A pickle can run code: only for files of your own.
    allow_pickle: bool = setting(False, changes_results=False)

    def path(self) -> Path:
        """Expands the environment variables in `directory`.

        Raises:
            ConfigError: one of them is not set or empty, or there is no such folder.
        """
        if not self.directory:
            self.refuse("directory", "a Hugging Face directory with config.json and model.safetensors")
        directory = self.expanded("directory", "a folder")
        path = Path(os.path.expanduser(directory))  # noqa: PTH111  (no error of unknown users)
        try:
            there = path.is_dir()
        except OSError:
            there = False
        if not there:
            self.refuse("directory", f"a Hugging Face directory; there is no folder {path}")
        return path
