"""Errors of the admin API as RFC 9457 problem documents, with Limen's code and remedy."""

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from limen.core.errors import BundleRefused, Conflict, Invalid, LimenError, NotFound, Refused, Unavailable

STATUS: tuple[tuple[type[LimenError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (BundleRefused, 422),
    (Invalid, 422),
    (Refused, 403),
    (Unavailable, 503),
    (LimenError, 400),
)


def install_problems(app: FastAPI) -> None:
    """Answer every `LimenError` and every malformed body as a problem document."""
    app.add_exception_handler(LimenError, _answer)
    app.add_exception_handler(RequestValidationError, _malformed)


def _answer(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LimenError)
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    findings = [msgspec.to_builtins(finding) for finding in getattr(error, "findings", ())]
    return _problem(status, error.code, error.message, error.remedy, findings=findings)


def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    remedy = "See the API's description at /openapi.json."
    return _problem(422, "INVALID", f"{field}: {first['msg']}.", remedy)


def _problem(status: int, code: str, detail: str, remedy: str, **more: object) -> JSONResponse:
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, "remedy": remedy}
    return JSONResponse({**body, **more}, status_code=status, media_type="application/problem+json")
