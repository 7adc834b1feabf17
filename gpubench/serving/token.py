"""The token that a server asks for. It comes from the environment, and is stored nowhere.

The name of the variable contains the host: GPUBENCH_TOKEN_ and the host, with '_' for each '.' and
'__' for each '-'. So a sweep file from somebody else that names another server does not get it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from gpubench.errors import InputError
from gpubench.spec.server_url import ServerUrl

_PREFIX = "GPUBENCH_TOKEN_"


def variable(server: ServerUrl) -> str:
    """The name of the environment variable that holds the token for `server`."""
    host = server.host.replace("-", "__").replace(".", "_").replace(":", "_")
    return _PREFIX + host


def headers(server: ServerUrl) -> dict[str, str]:
    """The headers of a request. Empty if there is no token for the server.

    Raises InputError if the token would be sent over a network without encryption, or if it cannot
    be part of a header. The message does not contain the token.
    """
    name = variable(server)
    token = os.environ.get(name, "").strip()
    if not token:
        return {}
    if not server.tls and not server.is_this_machine:
        raise InputError(
            f"--server: the token in {name} would be sent without encryption; use grpcs:// or "
            "https://, or unset the variable"
        )
    if not (token.isascii() and token.isprintable()):
        raise InputError(f"--server: the token in {name} has characters that no header can hold")
    return {"authorization": f"Bearer {token}"}


def hidden(text: str, sent: Mapping[str, str] | None) -> str:
    """The text without the token in the headers `sent`."""
    secret = (sent or {}).get("authorization", "").removeprefix("Bearer ")
    return text.replace(secret, "[token]") if secret else text
