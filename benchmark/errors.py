"""The error that ends a stage; bad input has errors of its own where it is read."""


class StageError(RuntimeError):
    """A stage that began and could not end; the message is one line, and the same command tries again."""
