"""The figures of benchmarks/hw.py, by unit."""
