"""SeqIO tasks, the only part of `tasks` that needs TensorFlow, and what they are made of."""
