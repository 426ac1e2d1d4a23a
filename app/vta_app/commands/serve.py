"""``vta serve``: a simulator behind HTTP, as a board is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from vta_arch.presets import load_config
from vta_boards.server.options import HELP, ServeOptions

from ..devices import Backend, make_device, open_device
from ..options import Config
from ..output import progress_bars

_DEFAULT = ServeOptions()


def serve(
    config: Config = "pynq-z1",
    backend: Annotated[Backend, typer.Option("--backend", help="What runs programs.")] = Backend.FUNCTIONAL,
    host: Annotated[str, typer.Option("--host", help=HELP["host"])] = _DEFAULT.host,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=HELP["port"])] = _DEFAULT.port,
    token_file: Annotated[Path | None, typer.Option("--token-file", metavar="F", help=HELP["token_file"])] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="F.pem", help=HELP["tls_cert"])] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="F.pem", help=HELP["tls_key"])] = None,
    max_body: Annotated[int, typer.Option("--max-body", help=HELP["max_body"])] = _DEFAULT.max_body,
    max_store: Annotated[int, typer.Option("--max-store", help=HELP["max_store"])] = _DEFAULT.max_store,
    max_programs: Annotated[int, typer.Option("--max-programs", help=HELP["max_programs"])] = _DEFAULT.max_programs,
    max_queue: Annotated[int, typer.Option("--max-queue", help=HELP["max_queue"])] = _DEFAULT.max_queue,
    run_limit: Annotated[float, typer.Option("--run-limit", help=HELP["run_limit"])] = _DEFAULT.run_limit,
) -> None:
    """Serve a device over HTTP to `vta run P.vta --backend http://HOST:PORT` until Ctrl-C; see docs/serve.md.

    Example: `vta serve --config tiny --backend rtl --token-file token.txt`
    """
    from vta_boards.server.command import serve as serve_device

    cfg = load_config(config)
    options = ServeOptions(
        host=host, port=port, token_file=token_file, tls_cert=tls_cert, tls_key=tls_key, max_body=max_body,
        max_store=max_store, max_programs=max_programs, max_queue=max_queue, run_limit=run_limit,
    )  # fmt: skip
    with progress_bars() as progress, open_device(backend, cfg, progress):
        pass  # a simulator is built here, where its progress can be seen, not in the server's process
    serve_device(partial(make_device, backend), cfg, options, str(backend))
