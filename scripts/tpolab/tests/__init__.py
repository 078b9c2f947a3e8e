"""Tests of the lab itself. Run as root: python3 -m unittest discover -s scripts -t scripts"""
