"""A compiled program as C for processors without an operating system, or with one of their own."""
