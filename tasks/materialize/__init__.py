"""The data stage: official files in, token arrays on disk out, built once."""
