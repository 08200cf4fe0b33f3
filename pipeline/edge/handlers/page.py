"""The dashboard: its page, and the files the page asks for. Shell over `page_files.py`."""

from __future__ import annotations

from pipeline.edge.handlers.guard import Discreet, enter, share
from pipeline.edge.handlers.guarded import SECURITY_HEADERS
from pipeline.edge.page_files import PageFile, PageFiles, takes_gzip
from pipeline.edge.service import Service

_REVALIDATED = "no-cache"
_FOR_GOOD = "public, max-age=31536000, immutable"


class Page(Discreet):
    """`GET /`: the page. It needs no token, for it holds no data."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def initialize(self, service: Service, files: PageFiles) -> None:
        self._service = service
        self._files = files

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", _REVALIDATED)

    def prepare(self) -> None:
        visit = enter(self.request, self._service)
        if visit.refused is not None:
            self._service.refuse("host", visit.refused, path=self.request.path)
            self.set_status(403)
            self.finish(visit.refused)
        else:
            share(self, visit, self._service)  # a file is asked for without asking first whether one may

    def get(self, path: str) -> None:  # noqa: ARG002  # the page has no further path
        self.give(self._files.index)

    def head(self, path: str) -> None:
        self.get(path)

    def give(self, file: PageFile) -> None:
        """Answer with a file; with 304 and nothing where the browser has it."""
        packed = file.packed if takes_gzip(self.request.headers.get("Accept-Encoding", "")) else None
        if file.packed is not None:
            self.add_header("Vary", "Accept-Encoding")
        if packed is not None:
            self.set_header("Content-Encoding", "gzip")
        self.set_header("Content-Type", file.media_type)
        self.finish(file.plain if packed is None else packed)


class StaticFile(Page):
    """`GET /static/NAME`, `GET /static/DIGEST/NAME`: a file of the page."""

    def get(self, path: str) -> None:
        found = self._files.find(path)
        if found is None:
            self.set_status(404)
            self.finish("no such file")
            return
        file, for_good = found
        if for_good:
            self.set_header("Cache-Control", _FOR_GOOD)
        self.give(file)
