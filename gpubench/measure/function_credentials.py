"""The headers with which the caller of a function shows that it may call it.

They are read when the command starts, are sent only to the host of the URL, and are in no result
and in no message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from gpubench.errors import GpubenchError, InputError
from gpubench.measure.function_call import FunctionUrl, Headers

VARIABLE = "GPUBENCH_FUNCTION_AUTHORIZATION"
# "Invoking Lambda function URLs" of the AWS Lambda Developer Guide.
_LAMBDA_HOST = re.compile(r"[a-z0-9]+\.lambda-url\.([a-z0-9-]+)\.on\.aws")


def headers_for(url: FunctionUrl, aws_sigv4: bool) -> Headers:
    """The headers of each call. Raises InputError if they cannot be made or may not be sent."""
    authorization = os.environ.get(VARIABLE)
    if authorization is None and not aws_sigv4:
        return lambda body: {}
    if not url.secure and not url.is_local:
        raise InputError("--url: credentials are sent only over https; change http:// to https://")
    if aws_sigv4:
        if authorization is not None:
            raise InputError(f"--aws-sigv4 and {VARIABLE} are both credentials; remove one")
        return _signed(url)
    if not authorization or not authorization.isascii() or not authorization.isprintable():
        raise InputError(f"{VARIABLE}: it is not the value of a header, like: Bearer TOKEN")
    return lambda body: {"Authorization": authorization}


def _signed(url: FunctionUrl) -> Headers:
    """Signatures of version 4 for a function URL of Lambda, with the credentials of botocore."""
    host = _LAMBDA_HOST.fullmatch(url.host)
    if host is None:
        raise InputError(
            "--aws-sigv4: it signs calls of function URLs of Lambda, like "
            "https://ID.lambda-url.REGION.on.aws/; remove it for other URLs"
        )
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        raise InputError(
            "--aws-sigv4 needs botocore: pip install 'gpubench-inference[prices]'"
        ) from None
    try:
        credentials = Session().get_credentials()
    except BotoCoreError as error:
        raise InputError(f"--aws-sigv4: the AWS credentials cannot be read: {error}") from None
    if credentials is None:
        raise InputError("--aws-sigv4: no AWS credentials were found; run aws configure")
    region = host[1]

    def signed(body: bytes) -> Mapping[str, str]:
        # Only what is signed: the body, the host, and the type of the content.
        request = AWSRequest(
            "POST", url.origin + url.target, {"Content-Type": "application/json"}, body
        )
        try:
            # Credentials that expire are fetched again here.
            SigV4Auth(credentials.get_frozen_credentials(), "lambda", region).add_auth(request)
        except BotoCoreError as error:
            raise GpubenchError(f"--aws-sigv4: the AWS credentials are gone: {error}") from None
        return dict(request.headers.items())

    return signed
