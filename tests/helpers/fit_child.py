"""A small pretraining in a separate process, for the tests that kill it.

`python fit_child.py DIRECTORY KILL_AT`: the process kills itself, by SIGKILL, at the `KILL_AT`-th moment (0: never) at
which it asks for a batch or is about to change something below DIRECTORY. At its end it prints the digest of the
parameters and the number of moments.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

# Audit events of Python before it changes files; threads of orbax raise them too.
CHANGES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


def main(directory: Path, kill_at: int) -> None:
    """Trains, and prints the digest of the parameters and the number of moments."""
    import jax
    import numpy as np

    import benchmark.training.pretrain
    from benchmark.config import EncoderConfig, OptimizerConfig, PretrainConfig, TrainerConfig
    from benchmark.training.job import TrainingJob
    from benchmark.training.masking import SpecialTokens
    from tasks.arrays.token_arrays import TokenArrays

    module: Any = benchmark.training.pretrain
    moments = itertools.count(1)
    seen = 0

    def moment() -> None:
        nonlocal seen
        seen = next(moments)
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and any(str(a).startswith(str(directory)) for a in arguments if isinstance(a, str | Path)):
            moment()

    sys.addaudithook(audit)
    take_rows = module.take_rows

    def watched(*arguments: Any) -> Any:
        moment()
        return take_rows(*arguments)

    module.take_rows = watched
    ids = np.random.default_rng(0).integers(5, 40, (32, 12)).astype(np.int32)
    ids[:, 0], ids[:, -1] = 2, 3
    encoder = EncoderConfig(
        vocab_size=40,
        embedding_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intra_bottleneck_size=None,
        intermediate_size=8,
        num_feedforward_networks=1,
        max_position_embeddings=12,
        trigram_input=False,
    )
    params, _ = module.pretrain(
        encoder,
        PretrainConfig(steps=14, batch_size=4, checkpoint_every=3, optimizer=OptimizerConfig(learning_rate=0.01)),
        TokenArrays(Path(), {"input_ids": ids}, {"rows": len(ids)}),
        SpecialTokens(vocab_size=40, pad_id=0, cls_id=2, sep_id=3, mask_id=4),
        TrainingJob("teacher", directory, trainer=TrainerConfig(log_every=2), progress=print),
    )
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    print("end", digest.hexdigest(), seen)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
