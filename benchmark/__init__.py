"""AutoDistill-Bench: search, distil, measure and rank small BERT-like models."""

__version__ = "0.1.0"
