"""Who replays: processes of this machine, or of a Dask cluster."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

from diagnose.errors import DiagnoseError, WorkerError

CONNECTING = 10
"""Seconds a cluster has to answer."""


@contextlib.contextmanager
def executor(options: argparse.Namespace) -> Iterator[Executor | None]:
    """That of `--workers` or `--dask`; None without them.

    Raises:
        DiagnoseError: the package it takes is not installed.
        WorkerError: the cluster cannot be reached.
    """
    if options.workers:
        with _local(options.workers) as found:
            yield found
    elif options.dask:
        with _dask(options.dask) as found:
            yield found
    else:
        yield None


@contextlib.contextmanager
def _local(count: int) -> Iterator[Executor]:
    try:
        import loky
    except ImportError as error:
        raise DiagnoseError("--workers needs loky: pip install 'keras-diagnose[workers]'.") from error
    # Not a fork: what the backend's threads hold would be held in the child for good.
    pool: Executor = loky.ProcessPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise DiagnoseError("--dask needs dask: pip install 'keras-diagnose[dask]'.") from error
    make: Any = Client  # typed in part
    try:
        client: Any = make(address, timeout=CONNECTING, set_as_default=False)
    except Exception as error:
        raise WorkerError(f"The Dask cluster at {address} cannot be reached: {error}.") from error
    with client:
        yield client.get_executor()
