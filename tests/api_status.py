"""The refusals of an API server: `Status` objects in its own words.

Source: k8s.io/apimachinery pkg/api/errors/errors.go, k8s.io/apiserver pkg/storage/etcd3/errors.go.
"""

from typing import Any

from tests.api_objects import Manifest, Resource

CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """A refusal: its HTTP status `code` and its `body`, a Status object (or a plain text)."""

    def __init__(self, code: int, body: Manifest | str):
        super().__init__(code, body)
        self.code = code
        self.body = body

    def __str__(self) -> str:
        text = self.body if isinstance(self.body, str) else self.body.get("message")
        return f"{self.code}: {text}"


def status(
    code: int,
    message: str,
    *,
    reason: str | None = None,
    details: Manifest | None = None,
    metadata: Manifest | None = None,
) -> Manifest:
    """A Status object of a failure."""
    body: Manifest = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}, "status": "Failure"}
    body["message"] = message
    if reason := reason or REASONS.get(code):
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    return body | {"code": code}


def failure(code: int, message: str, **parts: Any) -> ApiError:
    """A refusal with a Status object."""
    return ApiError(code, status(code, message, **parts))


def bad_request(message: str) -> ApiError:
    """400."""
    return failure(400, message)


def not_served() -> ApiError:
    """404 for a path that nobody serves: no Status, but the text of Go's own HTTP server."""
    return ApiError(404, "404 page not found\n")


def unknown_path() -> ApiError:
    """404 for a path below one that is built in."""
    return failure(404, "the server could not find the requested resource", details={})


def not_found(resource: Resource, name: str) -> ApiError:
    """404 for an object that is not there."""
    return failure(404, f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 for a name that is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return failure(409, message, reason="AlreadyExists", details=_details(resource, name))


def conflict(resource: Resource, name: str) -> ApiError:
    """409 for an update of an object that has changed since it was read."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return failure(409, message, details=_details(resource, name))


def forbidden(resource: Resource, name: str | None, *, namespace: str | None, user: str, verb: str) -> ApiError:
    """403 as the RBAC authorizer words it."""
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    what = f'{resource.qualified} "{name}"' if name else resource.qualified
    message = (
        f'{what} is forbidden: User "{user}" cannot {verb} resource "{resource.plural}" '
        f'in API group "{resource.group}" {where}'
    )
    return failure(403, message, details=_details(resource, name))


def expired(revision: int, compacted: int) -> Manifest:
    """410 of a watch from a version that the server no longer has."""
    return status(410, f"too old resource version: {revision} ({compacted})")


def _details(resource: Resource, name: str | None) -> Manifest:
    details = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return details | {"kind": resource.plural}
