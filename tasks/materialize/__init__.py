"""From official files to token arrays on disk, once."""
