"""The server of the review: the page, its pictures and its decisions, for one person on this machine.

What keeps others out: it listens on the loopback interface only; the name in `Host` must be that interface's, so that a
foreign name that resolves to it (DNS rebinding) gets nothing; requests that a page of another origin makes are refused;
and everything needs a secret that only the printed address holds, which then lives in a cookie of this site. Images are
asked for by row number, never by path. The page may load nothing from anywhere else.
"""

from __future__ import annotations

import io
import secrets
import socket
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Annotated, Any

import uvicorn
from fastapi import Cookie, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from linnaeus.data.images.decode import read_image
from linnaeus.data.manifest import Manifest
from linnaeus.errors import ConfigError, LinnaeusError, UnreadableImageError
from linnaeus.review.session import Session

LOOPBACK = "127.0.0.1"
LARGE_PX, SMALL_PX, COARSE_PX = 1600, 224, 64
"""Pictures are sent with at most so many pixels on a side; those below the last one without loss."""
COOKIE = "linnaeus-review"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src "
    "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MOST_BYTES = 1_000_000
_Next = Callable[[Request], Awaitable[Response]]


class DecisionRequest(BaseModel):
    """What the page sends when a person has decided."""

    model_config = ConfigDict(extra="forbid")

    row: int = Field(ge=0)
    decision: str
    labels: list[str] = []


def create_app(
    session: Session, *, token: str, port: int, style: str, favicon: str, heat: Callable[[int], bytes] | None = None
) -> FastAPI:
    """The application.

    Args:
        session: what is reviewed.
        token: the secret of the printed address.
        port: that it will be reached at; part of the names it answers to.
        style, favicon: the style sheet and the SVG that all our pages share.
        heat: row -> a PNG of where the model looks; None where that cannot be told.
    """
    app = FastAPI(title="Linnaeus review", docs_url=None, redoc_url=None, openapi_url=None)
    hosts = {f"{name}:{port}" for name in (LOOPBACK, "localhost", "[::1]")}
    origins = {f"http://{host}" for host in hosts}

    @app.middleware("http")
    async def guard(request: Request, answer: _Next) -> Response:
        refusal = _refusal(request, hosts, origins)
        response = PlainTextResponse(refusal, 403) if refusal else await answer(request)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response

    def known(cookie: Annotated[str | None, Cookie(alias=COOKIE)] = None) -> None:
        if cookie is None or not secrets.compare_digest(cookie.encode(), token.encode()):
            raise HTTPException(403, "Open the address that linnaeus review printed; it holds the key to this page.")

    own = [Depends(known)]

    @app.get("/")
    def page(request: Request, token_given: Annotated[str | None, Query(alias="token")] = None) -> Response:
        if token_given is None:
            known(request.cookies.get(COOKIE))
            return Response(_file("review.html"), media_type="text/html; charset=utf-8")
        known(token_given)
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", path="/")
        return response

    @app.get("/review.css")
    def styles() -> Response:
        return Response(f"{style}\n{_file('review.css')}", media_type="text/css; charset=utf-8")

    @app.get("/review.js")
    def script() -> Response:
        return Response(_file("review.js"), media_type="text/javascript; charset=utf-8")

    @app.get("/favicon.svg")
    def icon() -> Response:
        return Response(favicon, media_type="image/svg+xml")

    @app.get("/api/state", dependencies=own)
    def state() -> dict[str, Any]:
        return _state(session, with_heat=heat is not None)

    @app.get("/api/queue/{number}", dependencies=own)
    def queue(number: int) -> dict[str, Any]:
        if not 0 <= number < len(session.queues):
            raise HTTPException(404, "There is no such queue.")
        rows = session.queues[number].rows
        return {"rows": rows.tolist(), "decided": session.decided(rows)}

    @app.get("/api/row/{row}", dependencies=own)
    def describe(row: int) -> dict[str, Any]:
        _check_row(row, session.manifest)
        return session.describe(row)

    @app.get("/image/{row}", dependencies=own)
    def image(row: int, small: bool = False) -> Response:
        return _picture(session.manifest, row, SMALL_PX if small else LARGE_PX)

    @app.get("/neighbour/{row}", dependencies=own)
    def neighbour(row: int) -> Response:
        return _picture(session.reference, row, SMALL_PX)

    @app.get("/heat/{row}", dependencies=own)
    def heat_map(row: int) -> Response:
        _check_row(row, session.manifest)
        if heat is None:
            raise HTTPException(404, "There is no heat map here.")
        return Response(heat(row), media_type="image/png")

    @app.post("/api/decide", dependencies=own)
    def decide(request: DecisionRequest) -> dict[str, Any]:
        _check_row(request.row, session.manifest)
        session.decide(request.row, request.decision, request.labels)
        return {"decided": len(session.decisions)}

    @app.post("/api/undo", dependencies=own)
    def undo() -> dict[str, Any]:
        id = session.decisions.undo()
        return {"row": None if id is None else session.row_of(id), "id": id, "decided": len(session.decisions)}

    @app.exception_handler(LinnaeusError)
    async def tell(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, 400 if isinstance(error, ConfigError) else 500)

    return app


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer until Ctrl-C."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
    server.run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """A socket on the loopback interface; port 0 takes any that is free.

    Raises ConfigError if the port is taken or may not be used.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()  # from here on whoever connects waits until the server answers
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"Port {port} cannot be used: {why}. Name another with --port, or none.") from error
    return listener


def _refusal(request: Request, hosts: set[str], origins: set[str]) -> str | None:
    """Why a request is not answered; None if it is."""
    if request.headers.get("host", "") not in hosts:
        return "This server answers on this machine only, under its own name."
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "A page of another site asked for this."
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        return "A page of another site asked for this."
    if request.method not in ("GET", "HEAD"):
        if origin is None:
            return "Only this server's own page may change anything."
        size = request.headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > _MOST_BYTES:
            return "Too much was sent."
    return None


def _state(session: Session, *, with_heat: bool) -> dict[str, Any]:
    decided = [sum(session.decided(queue.rows)) for queue in session.queues]
    return {
        "title": session.title,
        "several": session.manifest.task == "multi",
        "labelled": session.labelled,
        "classes": list(session.manifest.classes),
        "queues": [
            {"title": q.title, "hint": q.hint, "detail": q.detail, "size": len(q.rows), "left": len(q.rows) - done}
            for q, done in zip(session.queues, decided, strict=True)
        ],
        "decided": len(session.decisions),
        "file": str(session.decisions.path),
        "command": session.command,
        "preparing": session.preparing,
        "heat": with_heat,
    }


def _check_row(row: int, manifest: Manifest) -> None:
    if not 0 <= row < len(manifest):
        raise HTTPException(404, f"There is no row {row}; there are {len(manifest):,}.")


def _picture(manifest: Manifest, row: int, most_px: int) -> Response:
    """The image of a row, upright, at most so many pixels on a side."""
    _check_row(row, manifest)
    try:
        box = None if manifest.boxes is None else manifest.boxes[row].tolist()
        picture = Image.fromarray(read_image(manifest.uris[row].as_py(), box))
    except UnreadableImageError as error:
        raise HTTPException(404, "This image cannot be read.") from error
    picture.thumbnail((most_px, most_px))
    file = io.BytesIO()
    picture.save(file, "webp", lossless=max(picture.size) < COARSE_PX, quality=85, method=2)
    return Response(file.getvalue(), media_type="image/webp")


def _file(name: str) -> str:
    return (resources.files("linnaeus.review") / "page" / name).read_text(encoding="utf-8")
