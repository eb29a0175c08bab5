"""Chips described by data, and latencies estimated for them: roofline and the TPU's compiler."""
