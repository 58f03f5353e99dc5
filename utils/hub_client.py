"""How long the Hub is waited for: through the HTTP client that huggingface_hub, transformers and datasets share.

As the library makes it, that client waits for an answer for ever, and as long as a server's `Retry-After` says; Xet, by
which large files go, waits many minutes. Here all follows from the library's own setting, HF_HUB_DOWNLOAD_TIMEOUT (10
seconds): a request waits six times as long for its answer, and a call that has failed is tried again for twelve times
as long. No call waits longer than both together, three minutes, whatever the server does; without a network it ends
after a few seconds.
"""

import os
import threading
import time
from typing import Any

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers
from huggingface_hub.utils._http import hf_request_event_hook

_TRIED_AGAIN = (408, 429, 500, 502, 503, 504)  # statuses after which the library asks once more


class HubSilentError(OfflineModeIsEnabled):
    """The Hub was given up. The library does then what it does without a network: it looks into its cache."""


def answer_limit() -> float:
    """Seconds that one request waits: for a connection, for the next byte, for its answer."""
    return 6 * constants.HF_HUB_DOWNLOAD_TIMEOUT


def patience() -> float:
    """Seconds from the first failure of a call to the moment in which it is given up."""
    return 12 * constants.HF_HUB_DOWNLOAD_TIMEOUT


def reach_limit() -> float:
    """Seconds from the first attempt to connect that was refused, or had no network, to the last."""
    return constants.HF_HUB_DOWNLOAD_TIMEOUT / 5


def limit_waiting() -> None:
    """Have calls to the Hub end in time from now on; the patience of the next one is whole again.

    To be called before each thing that is asked of the Hub: a model, a dataset, a push.
    """
    if not _Waiting.limited:
        set_client_factory(_client)
        setting = constants.HF_HUB_DOWNLOAD_TIMEOUT
        for name, seconds in (
            ("CONNECT_TIMEOUT", setting),
            ("READ_TIMEOUT", setting),
            ("RETRY_MAX_DURATION", 6 * setting),
        ):
            os.environ.setdefault(f"HF_XET_CLIENT_{name}", f"{1000 * seconds:.0f}ms")
        _Waiting.limited = True
    _Waiting.begin()


def waited(error: BaseException) -> str | None:
    """In a few words how long was waited in vain, where that is what `error` is about."""
    if isinstance(error, HubSilentError):
        return str(error)
    return f"no answer within {answer_limit():,.0f} seconds" if isinstance(error, httpx2.TimeoutException) else None


def reason(error: BaseException) -> str:
    """In a few words why something could not be had from the Hub: that it was given up, or the error's first line."""
    if _Waiting.given_up:  # not every library says what the last thing was that it tried
        return _Waiting.given_up
    cause: BaseException | None = error
    while cause is not None:
        if said := waited(cause):
            return said
        cause = cause.__cause__ or cause.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class _Waiting:
    """Since when nothing but failures has come from the Hub; None: it has answered, or was not asked yet."""

    limited = False
    since: float | None = None
    given_up: str | None = None  # why, since then
    lock = threading.Lock()  # files are fetched by several threads

    @classmethod
    def failed(cls) -> None:
        with cls.lock:
            cls.since = cls.since or time.monotonic()

    @classmethod
    def begin(cls) -> None:
        with cls.lock:
            cls.since, cls.given_up = None, None

    @classmethod
    def give_up(cls, sentence: str) -> HubSilentError:
        with cls.lock:
            cls.given_up = sentence
        return HubSilentError(sentence)

    @classmethod
    def left(cls) -> float:
        with cls.lock:
            return patience() - (time.monotonic() - cls.since if cls.since else 0)


class _Client(httpx2.Client):
    """The library's client; how long it waits is no server's business."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if _Waiting.given_up:
            raise HubSilentError(_Waiting.given_up)
        left = max(_Waiting.left(), 0.1)
        limits = request.extensions.get("timeout", {})
        limit = min(answer_limit(), left)
        names = ("connect", "read", "write", "pool")
        limits = {name: min(limits.get(name) or limit, limit) for name in names}
        request.extensions = {**request.extensions, "timeout": limits}
        try:
            response = super().send(request, **options)
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            _Waiting.failed()
            if _Waiting.left() <= 0:
                raise _Waiting.give_up(_silent(request)) from error
            if isinstance(error, httpx2.ConnectError) and patience() - _Waiting.left() >= reach_limit():
                raise _Waiting.give_up(f"{request.url.host} cannot be reached: {error}") from error
            raise
        if response.status_code not in _TRIED_AGAIN:
            _Waiting.begin()
            return response
        _Waiting.failed()
        asked = _asked_to_wait(response)
        if asked > _Waiting.left():
            response.close()
            wish = f" and asks to wait {asked:,} seconds" if asked else ""
            raise _Waiting.give_up(
                f"{request.url.host} answers with HTTP {response.status_code}{wish}; it is waited for {patience():,.0f}"
            )
        return response


def _client() -> httpx2.Client:
    return _Client(event_hooks={"request": [hf_request_event_hook]}, follow_redirects=True, timeout=answer_limit())


def _silent(request: httpx2.Request) -> str:
    return f"{request.url.host} has not answered for {patience():,.0f} seconds"


def _asked_to_wait(response: httpx2.Response) -> int:
    """The seconds after which a server wants to be asked again, as the library reads them; 0: it does not say."""
    limit = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    value = response.headers.get("Retry-After", "").strip()
    return int(value) if value.isdecimal() else 0
