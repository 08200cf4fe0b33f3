"""Asking an edge over HTTP, for commands. Shell; standard library only, so that `--help` stays quick."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlencode, urlsplit

from pipeline.errors import OperatorError

TIMEOUT_S = 60.0
_BLOCK_BYTES = 65_536


class Edge:
    """Args:
    url: where it is, `http://host:port`, with the path it is served under, if any.
    token: brought with every request; empty for none.

    Raises:
        OperatorError: that is no such address.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._headers = {"Accept": "*/*", **({"Authorization": f"Bearer {token}"} if token else {})}
        self.url = url.rstrip("/")
        try:
            self._place: SplitResult = urlsplit(self.url)
            self._port = self._place.port
        except ValueError as error:
            raise OperatorError(f"--edge {url!r}: {error}") from None
        if self._place.scheme not in ("http", "https") or not self._place.hostname:
            raise OperatorError(f"--edge {url!r}: an address as http://127.0.0.1:8800 is needed")

    def ask(self, method: str, path: str, **query: object) -> dict[str, object]:
        """Return the answer, a JSON object.

        Args:
            method: `GET` or `DELETE`.
            path: from `/api` on.
            query: what is asked; None is left out.

        Raises:
            OperatorError: it cannot be reached, or says why not.
        """
        with self._asked(method, path, query) as response:
            try:
                found = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise OperatorError(f"{self.url}: {error}") from None
        if not isinstance(found, dict):
            raise OperatorError(f"{self.url} does not answer as an edge does")
        return found

    def stream(self, path: str, **query: object) -> Iterator[bytes]:
        """Yield the answer as it comes.

        Raises:
            OperatorError: it cannot be reached, says why not, or breaks off.
        """
        with self._asked("GET", path, query) as response:
            while True:
                try:
                    part = response.read1(_BLOCK_BYTES)
                except (OSError, http.client.HTTPException) as error:
                    raise OperatorError(f"{self.url}: broken off: {error!r}") from None
                if not part:
                    return
                yield part

    @contextmanager
    def _asked(self, method: str, path: str, query: dict[str, object]) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._place.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._place.hostname or "", self._port, timeout=TIMEOUT_S)
        wanted = urlencode({name: value for name, value in query.items() if value is not None})
        target = f"{self._place.path}{path}" + (f"?{wanted}" if wanted else "")
        try:
            try:
                connection.request(method, target, headers=self._headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise OperatorError(f"no edge answers at {self.url}: {error}") from None
            if response.status != 200:
                raise OperatorError(_problem(response))
            yield response
        finally:
            connection.close()


def _problem(response: http.client.HTTPResponse) -> str:
    try:
        return str(json.loads(response.read(_BLOCK_BYTES))["error"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return f"the edge answers with HTTP {response.status}"
