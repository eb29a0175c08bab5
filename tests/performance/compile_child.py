"""Compiles one program of MobileBERT at its published size, and says how long that took.

`python -m tests.performance.compile_child inference|training CACHE` answers with one JSON line: CPU-seconds of tracing
and compiling. CACHE is a folder for JAX's persistent cache; a second process with the same folder finds it warm.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np


def main() -> None:
    """Compiles what the command line names."""
    kind, cache = sys.argv[1:]
    import jax
    import jax.numpy as jnp

    from baselines.catalogue import baselines
    from benchmark.config import OptimizerConfig
    from benchmark.models.encoder import Encoder
    from benchmark.models.inference import compile_encoder
    from benchmark.process.setup import collect_less_often
    from benchmark.training.initial import init_tree
    from benchmark.training.losses import masked_lm_loss
    from benchmark.training.masking import MaskedBatch
    from benchmark.training.optimizers import make_optimizer
    from benchmark.training.pretrain import init_params
    from benchmark.training.state import init_state, make_train_step

    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    encoder = baselines()["mobilebert"].encoder
    assert encoder
    collect_less_often()
    if kind == "inference":
        params = init_tree(Encoder(encoder), encoder, 0, num_inputs=3)
        jax.block_until_ready(jnp.zeros(1) + 1)
        before = time.process_time()
        compile_encoder(encoder, params, 1, 128)
    else:
        optimizer = make_optimizer(OptimizerConfig(name="lamb"))
        state = init_state(init_params(encoder, 0), optimizer)
        step = make_train_step(masked_lm_loss(encoder), optimizer)
        ids, places = jnp.ones((32, 128), jnp.int32), jnp.ones((32, 19), jnp.int32)
        batch = MaskedBatch(ids, ids, ids, places, places, places.astype(jnp.float32))
        jitted: Any = step
        before = time.process_time()
        jitted.lower(state, batch, np.float32(1e-3), {}).compile()
    print(json.dumps({"cpu_s": time.process_time() - before}))


if __name__ == "__main__":
    main()
