"""Calls to AWS: clients, several regions at once, what was answered a while ago, and errors by their next move."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from sbroker.errors import AuthRefused, NoCapacity, QuotaExceeded, SbrokerError, Unsatisfiable
from sbroker.providers.base import Context, ProviderError

if TYPE_CHECKING:
    from sbroker.providers.aws import AwsSettings

T = TypeVar("T")
CONNECT, READ = 5.0, 25.0  # seconds; three tries of one call stay within the patience of `providers.worker`
MAKING = frozenset({"run_instances"})  # what is not tried again here: the broker lists, and calls with the same token
_NO_CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity", "InsufficientCapacity", "InsufficientCapacityOnHost",
        "ReservationCapacityExceeded", "UnfulfillableCapacity", "SpotMaxPriceTooLow", "InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity",
    }
)  # fmt: skip
_QUOTA = frozenset({"MaxSpotInstanceCountExceeded", "ServiceQuotaExceededException"})  # and all that end in LimitExceeded
_UNKNOWN = re.compile(r"RequestLimitExceeded|Throttl.*|TooManyRequests.*|Internal.*|.*Unavailable|RequestTimeout.*|SlowDown|EC2ThrottledException|PriorRequestNotComplete")
_ALLOWED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"})
_AUTH = frozenset(
    {
        "AuthFailure", "InvalidClientTokenId", "InvalidAccessKeyId", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "SignatureDoesNotMatch", "Blocked",
        "UnrecognizedClientException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidSignatureException", "IncompleteSignature",
        "OptInRequired", "PendingVerification", "NotAuthorized",
    }
)  # fmt: skip
_ABSENT = frozenset(
    {
        "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound", "ConfigParseError", "ConfigNotFound", "TokenRetrievalError",
        "SSOError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "InvalidConfigError", "RefreshWithMFAUnsupportedError", "MetadataRetrievalError", "LoginError",
    }
)  # fmt: skip


def code_of(error: BaseException) -> str:
    """AWS's own word for what went wrong, "" if it said none."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def translate(error: BaseException, site: str, call: str, region: str) -> SbrokerError:
    """The error whose class names the next move. What nobody can read says nothing about what was done: ProviderError."""
    code, action = code_of(error), "".join(word.capitalize() for word in call.split("_"))
    response = getattr(error, "response", None) or {}
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(response, dict) else 0
    said = str(response.get("Error", {}).get("Message", "")).partition(" Encoded authorization failure message")[0].strip() if code else str(error)
    where = "AWS, %s, %s: " % (region, action)
    if not code:
        if any(kind.__name__ in _ABSENT for kind in type(error).__mro__):
            return AuthRefused(
                "no credentials for AWS (%s): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for the broker, or credentials of the site %s, and restart it"
                % (said.rstrip("."), site)
            )
        return ProviderError(where + (said.splitlines() or [type(error).__name__])[0][:300])
    if code in _NO_CAPACITY:
        return NoCapacity(where + said)
    if _UNKNOWN.fullmatch(code) or status >= 500:
        return ProviderError(where + "%s: %s" % (code, said))
    if code in _QUOTA or code.endswith("LimitExceeded"):
        return QuotaExceeded(where + said + " (ask for more: Service Quotas, Amazon EC2, %s)" % region)
    if code in _ALLOWED:
        return AuthRefused(where + "our credentials do not allow it: add ec2:%s to the policy of the broker's role (%s)" % (action, said[:200]))
    if code in _AUTH:
        return AuthRefused(where + "AWS refuses our credentials (%s: %s): renew them for the broker (site %s) and restart it" % (code, said[:200], site))
    if call in MAKING or code.startswith(("Invalid", "Unsupported", "Missing", "ParameterNotFound")):
        return Unsatisfiable(where + "%s: %s" % (code, said))
    return ProviderError(where + "%s: %s" % (code, said))


class Aws:
    """One account as one site uses it."""

    def __init__(self, settings: AwsSettings, context: Context) -> None:
        self.settings, self.context, self.site = settings, context, context.site
        self._session: Any = None
        self._clients: dict[tuple[str, str, bool], Any] = {}
        self._lock = threading.Lock()
        self._kept: dict[Any, tuple[float, Any]] = {}
        self._pool = ThreadPoolExecutor(max(4, 4 * len(settings.regions)), thread_name_prefix="aws")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def client(self, service: str, region: str, *, patient: bool = True) -> Any:
        """Made once. `patient`: calls are tried again."""
        with self._lock:  # sessions are no thread's friend
            key = (service, region, patient)
            if key not in self._clients:
                self._clients[key] = self._make(service, region, 3 if patient else 1)
            return self._clients[key]

    def _make(self, service: str, region: str, attempts: int) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise AuthRefused("the site %s needs boto3, which is not installed: pip install 'sbroker[aws]', and restart the broker" % self.site) from error
        said = self.settings.credentials
        if self._session is None:
            self._session = boto3.session.Session(
                profile_name=said.get("profile"),
                aws_access_key_id=said.get("access_key_id"),
                aws_secret_access_key=said.get("secret_access_key"),
                aws_session_token=said.get("session_token"),
            )
        config = Config(connect_timeout=CONNECT, read_timeout=READ, retries={"mode": "standard", "total_max_attempts": attempts}, max_pool_connections=20)
        return self._session.client(service, region_name=region, endpoint_url=self.settings.endpoint_url, config=config)

    def call(self, service: str, region: str, name: str, **arguments: Any) -> dict[str, Any]:
        """One call. The errors of the contract."""
        try:
            return dict(getattr(self.client(service, region, patient=name not in MAKING), name)(**arguments))
        except SbrokerError:
            raise
        except Exception as error:
            raise translate(error, self.site, name, region) from error

    def pages(self, service: str, region: str, name: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """All pages of one call."""
        try:
            yield from self.client(service, region).get_paginator(name).paginate(**arguments)
        except SbrokerError:
            raise
        except Exception as error:
            raise translate(error, self.site, name, region) from error

    def everywhere(self, ask: Callable[[str], T]) -> dict[str, T]:
        """Region → answer, all asked at once. The first error is raised when all have answered."""
        tasks = {region: self._pool.submit(ask, region) for region in self.settings.regions}
        errors = [error for task in tasks.values() if (error := task.exception()) is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, ProviderError))  # what somebody can mend comes first
        return {region: task.result() for region, task in tasks.items()}

    def together(self, *asks: Callable[[], Any]) -> list[Any]:
        """The answers of several calls, made at once; the first error is raised."""
        threads = [self._pool.submit(ask) for ask in asks]
        return [thread.result() for thread in threads]

    def keep(self, key: Any, seconds: float, ask: Callable[[], T]) -> T:
        """What `ask` answered, not longer ago than that."""
        now, found = self.context.clock.boottime(), self._kept.get(key)
        if found is None or now - found[0] > seconds:
            found = self._kept[key] = (now, ask())
        return found[1]

    def forget(self, key: Any) -> None:
        self._kept.pop(key, None)
