"""Errors of the admin API as RFC 9457 problem documents, with Limen's code and remedy."""

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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
    """Answer every `LimenError`, every malformed body and every unknown path as a problem document."""
    app.add_exception_handler(LimenError, _answer)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _malformed)


def _answer(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LimenError)
    return problem(next(status for kind, status in STATUS if isinstance(error, kind)), error)


def problem(status: int, error: LimenError) -> JSONResponse:
    """Return an error as its problem document."""
    findings = [msgspec.to_builtins(finding) for finding in getattr(error, "findings", ())]
    cure = getattr(error, "cure", "")
    more = {"cure": cure, "decision_id": getattr(error, "decision", "")} if cure else {}
    return _problem(status, error.code, error.message, error.remedy, findings=findings, **more)


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = "NOT_FOUND" if error.status_code == 404 else "METHOD" if error.status_code == 405 else "ERROR"
    remedy = "See the API's description: docs/reference."
    return _problem(error.status_code, code, "There is no such call.", remedy)


def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    remedy = "See the API's description at /openapi.json."
    return _problem(422, "INVALID", f"{field}: {first['msg']}.", remedy)


def _problem(status: int, code: str, detail: str, remedy: str, **more: object) -> JSONResponse:
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, "remedy": remedy}
    return JSONResponse({**body, **more}, status_code=status, media_type="application/problem+json")
