"""Serves the Optuna dashboard of a study database."""

import errno
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from lambda_nas.errors import InputError
from lambda_nas.reporting.dashboard import ORDER
from lambda_nas.store.study_store import SqlStudyStore


def open_server(store: SqlStudyStore, host: str, port: int) -> WSGIServer:
    """Open a server on a port of one of this machine's addresses.

    Raises:
        InputError: If the address is not this machine's, or the port can't be used.
    """
    app = optuna_dashboard.wsgi(store.optuna)
    app.install(_in_order)
    try:
        return make_server(host, port, app, _Server, _Quiet)
    except OSError as error:
        # An unknown name is an error of its own kind.
        elsewhere = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise InputError(
            f"can't be used ({error})",
            parameter="host" if elsewhere else "port",
            value=host if elsewhere else port,
            allowed="a name or IPv4 address of this machine" if elsewhere else None,
            advice=None if elsewhere else "choose another",
        ) from error


def is_private(server: WSGIServer) -> bool:
    """Say whether only this machine reaches a server."""
    return ip_address(str(server.server_address[0])).is_loopback


def _in_order(view: Callable[..., object]) -> Callable[..., object]:
    """Make a view of the dashboard list our plots in our order; its own order is arbitrary."""

    def ordered(*args: object, **kwargs: object) -> object:
        found = view(*args, **kwargs)
        if isinstance(found, dict):
            found.get("plotly_graph_objects", []).sort(key=_place)
        return found

    return ordered


def _place(plot: Mapping[str, str]) -> int:
    return ORDER.index(plot["id"]) if plot["id"] in ORDER else len(ORDER)


class _Server(ThreadingMixIn, WSGIServer):
    # A page must not wait for the parameter importances of another.
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
