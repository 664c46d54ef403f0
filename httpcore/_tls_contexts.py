"""The client contexts of TLS: one a process for each configuration, made anew where its files have changed."""

from __future__ import annotations

import os
import ssl
import sys
import threading

from ._config import SSLConfig

__all__ = ["known_context", "make_context"]

Stamps = tuple[tuple[int, int] | str | None, ...]

_contexts: dict[tuple[SSLConfig, tuple[str, ...]], tuple[Stamps, ssl.SSLContext]] = {}
_contexts_lock = threading.Lock()
# A context holds all roots, about 1 MB; a program that makes configurations without end must not keep them all.
_MAX_CONTEXTS = 64


def known_context(config: SSLConfig, alpn: tuple[str, ...]) -> ssl.SSLContext | None:
    """The context for a configuration, if it was made before, of files that have not changed since."""
    known = _contexts.get((config, alpn))
    return known[1] if known is not None and known[0] == _stamps(config) else None


def make_context(config: SSLConfig, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """The client context for a configuration, made once a process: reading the roots takes milliseconds.

    Where files have changed, it is made anew. If they cannot be used then, as somebody is about to replace them one
    after another, the former one stays, and the next connection looks again.

    Raises: OSError (a file is missing), ssl.SSLError (a key does not fit), RuntimeError (truststore is not installed).
    """
    with _contexts_lock:
        former, stamps = _contexts.get((config, alpn)), _stamps(config)
        if former is not None and former[0] == stamps:
            return former[1]
        try:
            context = _new_context(config, alpn)
        except (OSError, ssl.SSLError):
            if former is None:
                raise
            return former[1]
        while len(_contexts) >= _MAX_CONTEXTS and former is None:
            del _contexts[next(iter(_contexts))]
        _contexts[config, alpn] = stamps, context
        return context


def _stamps(config: SSLConfig) -> Stamps:
    """By which it is seen that files have changed: their times and sizes, None for one that is not there; and where
    secrets are logged."""
    cert = () if config.cert is None else (config.cert,) if isinstance(config.cert, str) else config.cert[:2]
    return (_key_log(), *map(_stamp, (*_root_paths(config), *cert)))


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _key_log() -> str:
    """The file that is to get the secrets of each connection, by the rule of `ssl.create_default_context`: `python -E`
    takes nothing from the environment."""
    return "" if sys.flags.ignore_environment else os.environ.get("SSLKEYLOGFILE", "")


def _new_context(config: SSLConfig, alpn: tuple[str, ...]) -> ssl.SSLContext:
    if config.truststore:
        context = _system_store_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_roots(context, config)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.hostname_checks_common_name = False  # RFC 9525, 2: names are alternative names
    if config.cert is not None:
        parts = (config.cert,) if isinstance(config.cert, str) else config.cert
        # An empty password instead of None: OpenSSL would ask for one at the terminal.
        context.load_cert_chain(parts[0], parts[1] if len(parts) > 1 else None, parts[2] if len(parts) > 2 else "")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if path := _key_log():
        context.keylog_filename = path
    return context


def _root_paths(config: SSLConfig) -> list[str]:
    """Where the trusted certificates are; empty for those of certifi, of the system, or none at all."""
    if isinstance(config.verify, str):
        return [config.verify]
    if config.truststore or not config.verify:
        return []
    # SSL_CERT_DIR may name several, as in OpenSSL.
    paths = [os.environ.get("SSL_CERT_FILE", ""), *os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)]
    return [path for path in paths if path]


def _load_roots(context: ssl.SSLContext, config: SSLConfig) -> None:
    if config.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    paths = _root_paths(config)
    for path in paths:
        _load_path(context, path)
    if not paths:
        import certifi

        context.load_verify_locations(cafile=certifi.where())


def _load_path(context: ssl.SSLContext, path: str) -> None:
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
    elif os.path.exists(path):
        context.load_verify_locations(cafile=path)
    else:
        raise FileNotFoundError(f"the file or directory of trusted certificates does not exist: {path!r}")


def _system_store_context() -> ssl.SSLContext:
    try:
        import truststore
    except ImportError as exc:
        raise RuntimeError(
            "SSLConfig(truststore=True) needs the truststore package: pip install httpcore[truststore]"
        ) from exc
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
