"""The sub-commands of ``vta``, one a file; each is a thin call into a function of the library."""
