"""The VTA accelerator in Amaranth."""
