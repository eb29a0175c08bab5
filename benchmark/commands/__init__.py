"""Commands other than `run_benchmark.py`: `python -m benchmark.commands.NAME --help`."""
