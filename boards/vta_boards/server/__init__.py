"""A device behind HTTP: programs and tensors come in, results go out; the protocol is in docs/serve.md.

Needs the standard library and numpy alone, so that it runs on a board: ``vta-board serve``.
"""
