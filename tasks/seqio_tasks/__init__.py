"""SeqIO tasks and their parts: with `tasks.sources.tfds` the only modules of `tasks` that need TensorFlow."""
