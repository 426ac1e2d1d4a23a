"""Lowering: an integer layer becomes instructions. One operator a file; tiles are legal by construction."""
