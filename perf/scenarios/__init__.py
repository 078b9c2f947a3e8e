"""One module per scenario of perf/run: `run(repository)` measures and returns a report."""
