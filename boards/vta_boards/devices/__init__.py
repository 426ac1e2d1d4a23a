"""Devices that are boards: the accelerator seen from the board's own Linux. Standard library and numpy only."""
