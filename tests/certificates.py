"""Certificates for servers that speak TLS, made when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from pottery.testing import RedisServer, executable

if TYPE_CHECKING:
    from pathlib import Path


def certified(folder: Path) -> dict[str, str]:
    """Return what makes a server speak TLS, with a certificate made just now."""
    authority = import_module("trustme").CA()  # here, since only this needs it
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    names = {"cert": "certificate", "key": "key", "ca-cert": "authority"}
    return {f"tls-{name}-file": str(folder / f"{file}.pem") for name, file in names.items()}


def server_with_tls(config: dict[str, str]) -> RedisServer:
    """Return a server that has been started; skip the test if there is none with TLS."""
    server = RedisServer(config=config)
    try:
        server.start()
    except RuntimeError as error:
        if "TLS support" not in str(error) and "'tls-" not in str(error):
            raise
        pytest.skip(f"{executable()} was built without TLS")
    return server
