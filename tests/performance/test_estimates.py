"""How far estimates of latency can be believed (`make bench`): ranks and errors against what they stand for.

On this host that is the shortest of many calls of the serving program, which a busy machine disturbs least.
"""

from benchmark.cli.gin_loader import load
from benchmark.commands.calibrate_chip import agreement, calibrate, draw_architectures, host_seconds
from benchmark.hardware.roofline import estimate
from tasks.system.repository import REPOSITORY
from tests.performance.estimates_plot import read_table, rooflines

# Fitted to the first, compared on the rest.
FITTED, COMPARED = 16, 32


def test_roofline_against_compiled(benchmark, state_ratio):
    rows = read_table()
    estimated = benchmark(rooflines, rows)
    found = agreement(estimated, [row.compiled_s for row in rows])
    state_ratio("tau of roofline against compiled, TPU v4", found["tau"], 0.85, **found, architectures=len(rows))


def test_roofline_against_measured_host(benchmark, state_ratio):
    config = load([str(REPOSITORY / "gin" / "quickstart.gin")]).config.search
    chip, _, fit = calibrate(config, FITTED, None, lambda line: None)
    everything = draw_architectures(config, FITTED + COMPARED, seed=0)[FITTED:]
    shape = (config.batch_size, config.sequence_length)

    def known():
        return [host_seconds(encoder, *shape) for encoder in everything]

    measured = benchmark.pedantic(known, rounds=1, iterations=1)
    found = agreement([estimate(e, chip, *shape).latency_s for e in everything], measured)
    name = "tau of roofline against measured, this host"
    state_ratio(name, found["tau"], 0.9, **found, architectures=len(everything), fitted_tau=fit["tau"])
