"""What the clients of object stores raise, as OSErrors with one line that names the fix."""

from __future__ import annotations

import errno
from typing import Literal

from gpubench.errors import reason_of
from gpubench.files.urls import without_secrets

Action = Literal["create", "write", "read", "list", "remove"]

_FAMILIES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
# The permission that each action needs, as the services name it.
_PERMISSIONS: dict[str, dict[Action, str]] = {
    "s3": {
        "create": "s3:PutObject",
        "write": "s3:PutObject",
        "read": "s3:GetObject",
        "list": "s3:ListBucket",
        "remove": "s3:DeleteObject",
    },
    "gs": {
        "create": "storage.objects.create",
        "write": "storage.objects.create and storage.objects.delete",
        "read": "storage.objects.get",
        "list": "storage.objects.list",
        "remove": "storage.objects.delete",
    },
}
_ROLE = "the role Storage Blob Data Contributor"  # of Azure
_WHERE_TO_LOG_IN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run: aws configure",
    "gs": "run: gcloud auth application-default login",
    "az": "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_KEY",
}
_ADDRESSES = {
    "s3": " in AWS_ENDPOINT_URL",
    "gs": " in STORAGE_EMULATOR_HOST, and whether there are credentials",
}
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
    "CredentialUnavailableError",
}
# Azure's codes, and the status with which Google Cloud Storage answers without credentials.
_NOT_AUTHENTICATED = {"401", "AuthenticationFailed", "NoAuthenticationInformation"}
_UNREACHABLE = {
    "EndpointConnectionError",
    "HTTPClientError",
    "ClientConnectorError",
    "ServiceRequestError",
    "TransportError",
}
_DENIED = {"AccessDenied", "AuthorizationPermissionMismatch", "AuthorizationFailure", "403"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted"}


def is_conflict(error: Exception) -> bool:
    """Whether two processes wrote at the same moment, and the store asks to write again.

    Source: Amazon S3 User Guide, "How to prevent object overwrites with conditional writes".
    """
    return _code(error) in _CONFLICT


def translated(error: Exception, action: Action, scheme: str) -> OSError:
    """The OSError for an error of a store's client. A missing file is a FileNotFoundError."""
    family = _FAMILIES.get(scheme, scheme)
    code, text = _code(error), without_secrets(reason_of(error))
    classes = {each.__name__ for each in type(error).__mro__}
    if isinstance(error, FileExistsError) or code in {"PreconditionFailed", "BlobAlreadyExists"}:
        return FileExistsError(errno.EEXIST, "it exists")
    if code in {"NoSuchBucket", "ContainerNotFound"} or (
        action in {"create", "write"} and isinstance(error, FileNotFoundError)
    ):
        return OSError(errno.ENXIO, "there is no such bucket; create it first")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such file")
    if classes & _NO_CREDENTIALS:
        fix = _WHERE_TO_LOG_IN.get(family, "see the documentation of its client")
        return PermissionError(
            errno.EACCES, f"no credentials for {family}:// were found ({text}): {fix}"
        )
    if code in _DENIED or "Forbidden" in text:
        needed = _PERMISSIONS[family][action] if family in _PERMISSIONS else _ROLE
        return PermissionError(errno.EACCES, f"permission denied; the credentials need {needed}")
    if code == "RequestTimeTooSkewed":
        return PermissionError(errno.EACCES, f"{text}; set the clock of this machine")
    if isinstance(error, TimeoutError) or "FSTimeoutError" in classes:
        return TimeoutError(
            errno.ETIMEDOUT, f"no answer; check the network and the address{_address(family)}"
        )
    if classes & _UNREACHABLE:
        return OSError(
            errno.EHOSTUNREACH, f"{text}; check the network and the address{_address(family)}"
        )
    # Unknown keys, an expired token, ...
    if isinstance(error, PermissionError) or code in _NOT_AUTHENTICATED:
        return PermissionError(errno.EACCES, f"{text}; check the credentials")
    return OSError(errno.EIO, text)


def _address(family: str) -> str:
    return _ADDRESSES.get(family, "")


def _code(error: BaseException | None) -> str:
    """The code in the answer of the store; "" if it has not answered."""
    while error is not None:
        response = getattr(error, "response", None)  # botocore
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        code = getattr(error, "error_code", None) or getattr(error, "code", None)
        if code is not None:  # azure, and gcsfs
            return str(getattr(code, "value", code))
        error = error.__cause__
    return ""
