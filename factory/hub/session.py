"""Call the Hub with a time-out per request and a limited number of retries.

huggingface_hub's shared HTTP client has no time-out, and it does not retry some calls (create_repo,
create_tag, create_commit, single downloads). So all access to the Hub uses `HubSession.call`.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from factory.common import console
from factory.common.errors import Failure, UserError
from factory.hub.client import REQUEST_TIMEOUT_S, bound_requests
from factory.hub.errors import (
    client_errors,
    explain,
    is_local,
    is_transient,
    reason_of,
    retry_after_s,
)
from factory.hub.ids import HubTarget

T = TypeVar("T")
PUSH_PATIENCE_S = 600.0
LOAD_PATIENCE_S = 120.0
PATIENCE_VARIABLE = "DATA_FACTORY_HUB_PATIENCE_S"
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_MAX_ATTEMPTS = 12


def patience_s(*, writes: bool) -> float:
    """Return how long a failing call is retried, in seconds: from the variable, or a default."""
    text = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        return float(text) if text else PUSH_PATIENCE_S if writes else LOAD_PATIENCE_S
    except ValueError:
        raise UserError(f"{PATIENCE_VARIABLE}={text}: must be a number of seconds") from None


@dataclass
class HubSession:
    """Session for one repository.

    Attributes:
        target: The repository; errors name it.
        writes: Whether it will be changed.
        num_retries: Number of repeated calls so far.
        patience_s: Maximum time to retry one call, in seconds.
    """

    target: HubTarget
    writes: bool
    num_retries: int = 0
    patience_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.patience_s = patience_s(writes=self.writes)

    @property
    def api(self) -> Any:
        """The client, with a time-out on each request."""
        from huggingface_hub import HfApi

        self.bound()
        return HfApi()

    def bound(self) -> None:
        """Limit the time of each request of huggingface_hub."""
        bound_requests(min(REQUEST_TIMEOUT_S, self.patience_s / 3))

    def call(
        self,
        function: Callable[[], T],
        *,
        doing: str,
        check: Callable[[BaseException], T | None] | None = None,
    ) -> T:
        """Call a function until it succeeds, a retry cannot help, or the time is up.

        Args:
            function: May be called several times.
            doing: Activity for messages, e.g. `listing files`.
            check: Called with each error; a result other than None is returned (the answer was
                lost), and an exception ends the call.

        Raises:
            UserError: The Hub rejected the request.
            Failure: All retries failed.
        """
        started, attempt = time.monotonic(), 0
        while True:
            try:
                return function()
            except client_errors() as error:
                if is_local(error):
                    raise
                found = check(error) if check is not None else None
                if found is not None:
                    return found
                if not is_transient(error):
                    raise explain(error, self.target, doing=doing, writes=self.writes) from error
                attempt += 1
                self._wait(error, doing, attempt=attempt, started=started)

    def _wait(self, error: BaseException, doing: str, *, attempt: int, started: float) -> None:
        asked = retry_after_s(error)
        wait = min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S) if asked is None else asked
        left = self.patience_s - (time.monotonic() - started)
        if asked is not None and asked > left:
            raise Failure(
                f"{self.target}: the Hub asks to wait {asked:.0f} s ({reason_of(error)}); "
                "run the same command again then; transferred data is kept"
            ) from error
        if wait > left or attempt >= _MAX_ATTEMPTS:
            raise explain(error, self.target, doing=doing, writes=self.writes) from error
        self.num_retries += 1
        console.log(f"{doing}: {reason_of(error)}; trying again in {wait:.1f} s")
        time.sleep(wait)
