"""A single file at a URL: of an object store (s3://, gs://, ...), or of a web server."""

from __future__ import annotations

import errno
import urllib.error
import urllib.request
from http.client import HTTPException

from gpubench.errors import InputError, first_line
from gpubench.files.folder import open_folder
from gpubench.files.untrusted import refuse_larger
from gpubench.files.urls import has_password, without_secrets

_WEB = ("https", "http")
_TIMEOUT_S = 20.0


def is_url(text: str) -> bool:
    return "://" in text


def read_url(url: str, limit: int) -> bytes:
    """The content of the file at a URL. The query of a web address may be a signature.

    Raises InputError for a URL that cannot be used, and OSError if there is no such file, if the
    server does not answer, or over `limit` bytes.
    """
    if url.partition("://")[0] in _WEB:
        return _read_web(url, limit)
    folder, _, name = url.rpartition("/")
    if not name or folder.endswith("/"):  # s3://bucket
        raise InputError(
            f"{without_secrets(url)}: it names no file; write it like s3://bucket/file"
        )
    return open_folder(folder).read(name, limit)


def _read_web(url: str, limit: int) -> bytes:
    if has_password(url):
        raise InputError(
            f"{without_secrets(url)}: a password in a URL is not used; download the file, and give "
            "its path"
        )
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            data = bytes(answer.read(limit + 1))
    except urllib.error.HTTPError as error:
        raise OSError(errno.EIO, f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(errno.EHOSTUNREACH, f"no answer: {error.reason}") from None
    except (HTTPException, ValueError) as error:
        raise OSError(errno.EIO, without_secrets(first_line(error))) from None
    refuse_larger(len(data), limit, without_secrets(url))
    return data
