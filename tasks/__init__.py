"""The tasks of the benchmark: catalogue, readers, vocabulary, preprocessing, token arrays and metrics.

Importing this package, or any of its modules except `tasks.seqio_tasks` and `tasks.sources.tfds`, loads neither
TensorFlow nor SeqIO.
"""
