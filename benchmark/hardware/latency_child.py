"""The process that `benchmark.hardware.latency.measure` starts: a request on stdin, samples on stdout."""

import sys

from benchmark.hardware.latency import run_child

if __name__ == "__main__":
    sys.stdout.write(run_child(sys.stdin.read()) + "\n")
