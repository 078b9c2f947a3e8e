"""One module per scenario of perf/run: `run(repository, *, quick)` measures and returns a report."""
