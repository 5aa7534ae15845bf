"""Serves the Optuna dashboard of a study database."""

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard

from lambda_nas.errors import InputError
from lambda_nas.store.study_store import SqlStudyStore


def open_server(store: SqlStudyStore, port: int) -> WSGIServer:
    """Open a server on a port of this machine, for this machine only.

    Raises:
        InputError: If the port can't be used.
    """
    app = optuna_dashboard.wsgi(store.optuna)
    try:
        return make_server("127.0.0.1", port, app, _Server, _Quiet)
    except OSError as error:
        raise InputError(
            f"can't be used ({error})", parameter="port", value=port, advice="choose another"
        ) from error


class _Server(ThreadingMixIn, WSGIServer):
    # A page must not wait for the parameter importances of another.
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
