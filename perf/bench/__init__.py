"""The performance bench: scenarios as data, measured by turns, told as a table, JSON and a page.

In:  perf/scenarios/*.toml, and a module or a program for each. Out: what README and docs/results
     show. Python 3.11, standard library only.

| file | what is in it |
|---|---|
| `command` | perf/run: what is asked for |
| `catalogue` | the scenarios, as they stand in their files |
| `session` | scenarios one after the other, with the noise around them |
| `report` | figures with their bars, spreads and stated reasons |
| `alternation` | A B B A, what is left out, confidence intervals |
| `noise` | what others took of the machine |
| `foreign` | results of programs that print JSON of their own |
| `page`, `plot` | the report as one HTML file |
| `compare` | perf/compare: what changed beyond the spread |
"""
