"""Runs the tests of the lab and of the demonstration: python3 -m tpolab.tests [--lab]

Without --lab only those that take no lab of namespaces, in a few seconds; with it the others.
The last line is `N passed, N failed, N skipped`.
"""

import signal
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Classes whose tests make no lab.
QUICK = {"Parts", "Programs", "Configuration",
         "Scenarios", "Alternations", "Reports", "Counts", "Searches", "Comparisons",
         "Goodputs", "Loads", "Soaks"}


def cases(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """All tests of a suite."""
    return [test for item in suite
            for test in (cases(item) if isinstance(item, unittest.TestSuite) else [item])]


def main() -> int:
    """Runs the chosen tests; the exit code."""
    # A shell that starts this in the background has it ignored, and all its children with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loader = unittest.TestLoader()
    found = cases(loader.discover(str(HERE), top_level_dir=str(HERE.parents[1])))
    if loader.errors:
        sys.exit("\n".join(loader.errors))
    lab = "--lab" in sys.argv[1:]
    chosen = unittest.TestSuite(test for test in found if (type(test).__name__ in QUICK) != lab)
    count = chosen.countTestCases()
    result = unittest.TextTestRunner(stream=sys.stdout).run(chosen)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{count - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
