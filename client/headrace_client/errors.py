"""What the client raises: each message names what is wrong and says what to do next."""

from typing import Any


class ClientError(Exception):
    """Every error of this package is one."""


class SettingsError(ClientError):
    """A setting is wrong; the message names its key."""


class RouteError(ClientError):
    """No route, or more than one, fits a request; the message lists the routes."""


class KafkaError(ClientError):
    """The cluster cannot be reached, or refuses; the message says what to check."""


class MissingTopicError(KafkaError):
    """A topic does not exist."""


class DeliveryError(KafkaError):
    """A request was not published.

    Attributes:
        is_too_large: The topic takes no record of this size.
    """

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


class ClosedError(ClientError):
    """The client was closed."""


class UnsupportedCallError(ClientError, AttributeError):
    """The drop-in has no such call; the message says what it has."""


class BadLineError(ClientError):
    """A line to be submitted is no request line; the message names its number and field."""


class UnreadableResultError(ClientError):
    """A record on a results topic is no result line."""


class BodyFetchError(ClientError):
    """A result's body lies in an object store, and could not be read there."""


class RequestError(ClientError):
    """The service answered, but not with a response.

    Attributes:
        code: The machine-readable reason, e.g. ``model_failed``; see the outcomes of the wire.
        custom_id: The request's.
        result_id: The result line's id, TOPIC-PARTITION-OFFSET of the request.
    """

    def __init__(
        self, message: str, *, code: str, custom_id: str = "", result_id: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.custom_id = custom_id
        self.result_id = result_id


class RequestRefusedError(RequestError):
    """The endpoint refused the request (a 4xx): sent again it would be refused again.

    Attributes:
        status_code: The HTTP status.
        param: The field of the body that is wrong, where it is known.
        body: The whole body of the refusal.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status_code: int,
        param: str | None,
        body: dict[str, Any],
        custom_id: str = "",
        result_id: str = "",
    ) -> None:
        super().__init__(message, code=code, custom_id=custom_id, result_id=result_id)
        self.status_code = status_code
        self.param = param
        self.body = body


class RequestFailedError(RequestError):
    """The service gave the request up, as a dead letter mostly; it may pass another time."""


class RequestCancelledError(RequestError):
    """A control record cancelled the request."""


class RequestExpiredError(RequestError, TimeoutError):
    """The deadline passed before the model was done."""


class ResultTimeoutError(ClientError, TimeoutError):
    """No result came in time; the message says what the service does meanwhile."""
