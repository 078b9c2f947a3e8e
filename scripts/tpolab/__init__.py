"""The lab: two sites and a WAN between them, made of network namespaces.

Used by scripts/lab, scripts/demo, the end-to-end tests and perf/run. Python 3.11, standard
library only; needs root, iproute2 and ethtool.
"""
