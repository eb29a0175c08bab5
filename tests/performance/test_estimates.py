"""How far estimates of latency can be believed (`make bench`): ranks and errors against what they stand for."""

import dataclasses
import os

import pytest

from benchmark.config import LatencyConfig
from benchmark.gin_loader import load
from benchmark.hardware.calibrate import agreement, calibrated, drawn, host_seconds
from benchmark.hardware.latency import measure
from benchmark.hardware.roofline import estimate
from tests.performance.estimates_plot import ROOT, read_table, rooflines

# Fitted to the first, compared on the rest.
FITTED, COMPARED = 16, 32


def test_roofline_against_compiled(benchmark, state_ratio):
    rows = read_table()
    estimated = benchmark(rooflines, rows)
    found = agreement(estimated, [row.compiled_s for row in rows])
    state_ratio("tau of roofline against compiled, TPU v4", found["tau"], 0.85, **found, architectures=len(rows))


def test_roofline_against_measured_host(benchmark, state_ratio):
    config = load([str(ROOT / "gin" / "quickstart.gin")]).config.search
    chip, _, fit = calibrated(config, FITTED, None, lambda line: None)
    everything = drawn(config, FITTED + COMPARED, seed=0)[FITTED:]
    shape = (config.batch_size, config.sequence_length)

    def known():
        return [host_seconds(encoder, *shape) for encoder in everything]

    measured = benchmark.pedantic(known, rounds=1, iterations=1)
    found = agreement([estimate(e, chip, *shape).latency_s for e in everything], measured)
    name = "tau of roofline against measured, this host"
    state_ratio(name, found["tau"], 0.9, **found, architectures=len(everything), fitted_tau=fit["tau"])


@pytest.mark.skipif(not os.environ.get("AUTODISTILL_PROTOCOL"), reason="AUTODISTILL_PROTOCOL=1 measures for minutes")
def test_shortest_calls_rank_as_the_protocol_does(benchmark, state_ratio):
    config = load([str(ROOT / "gin" / "quickstart.gin")]).config
    shape = (config.search.batch_size, config.search.sequence_length)
    encoders = drawn(config.search, 12, seed=1)
    protocol: LatencyConfig = dataclasses.replace(config.latency, batch_sizes=(shape[0],), sequence_lengths=(shape[1],))
    candidates = {str(number): encoder for number, encoder in enumerate(encoders)}
    results = benchmark.pedantic(measure, (candidates, protocol, lambda line: None), rounds=1, iterations=1)
    found_in = [results.measurement(results.cells[0], number) for number in candidates]
    medians = [one.latency_s for one in found_in]
    found = agreement([host_seconds(encoder, *shape) for encoder in encoders], medians)
    state_ratio("tau of shortest calls against the protocol", found["tau"], 0.9, **found)
