"""The figures of benchmarks/networks.py: the networks and their targets, measurements, and the table of layers."""
