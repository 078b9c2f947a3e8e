"""Tests of the lab itself. Run as root: PYTHONPATH=scripts python3 -m tpolab.tests [--lab]"""
