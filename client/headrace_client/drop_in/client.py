"""Clients with the calls of ``openai.AsyncOpenAI`` and ``openai.OpenAI``."""

from types import TracebackType
from typing import Any, ParamSpec, Self, TypedDict, TypeVar, Unpack

from headrace_client.calls.caller import Caller
from headrace_client.calls.loop_thread import LoopThread
from headrace_client.calls.options import ClientOptions, Options
from headrace_client.calls.sender import Sender
from headrace_client.drop_in.parameters import NOT_GIVEN, seconds
from headrace_client.drop_in.resources import Chat, Completions, Embeddings, unsupported

P = ParamSpec("P")
T = TypeVar("T")


class HttpOptions(TypedDict, total=False):
    """What openai's clients take for HTTP, and these accept without effect.

    Kafka's address, TLS and authentication are those of ``headrace.yaml``. The service retries by
    its own settings, so ``max_retries`` is not counted here.
    """

    api_key: Any
    admin_api_key: Any
    workload_identity: Any
    organization: str | None
    project: str | None
    webhook_secret: str | None
    base_url: Any
    websocket_base_url: Any
    max_retries: int
    default_headers: Any
    default_query: Any
    http_client: Any
    _strict_response_validation: bool


class OpenAIOptions(Options, HttpOptions, total=False):
    """Every keyword argument of the drop-in clients."""

    timeout: Any


_HTTP_OPTIONS = frozenset(HttpOptions.__annotations__)


class AsyncOpenAI:
    """``openai.AsyncOpenAI``, for what a service can answer, through topics.

    It takes ``openai.AsyncOpenAI``'s arguments (see ``HttpOptions`` for those without effect) and
    those of ``AsyncHeadrace``. ``timeout`` is in seconds, and none by default: a request of a large
    batch waits for its turn. Errors are openai's own, where that package is installed.
    """

    def __init__(self, **options: Unpack[OpenAIOptions]) -> None:
        given: dict[str, Any] = dict(options)
        timeout = given.pop("timeout", NOT_GIVEN)
        for name in _HTTP_OPTIONS:
            given.pop(name, None)
        timeout_s = seconds(timeout, given.pop("timeout_s", None))
        self._use(Caller(ClientOptions.of(given)), timeout_s)

    def _use(self, caller: Caller, timeout_s: float | None) -> None:
        self._caller = caller
        self._timeout_s = timeout_s
        sender = Sender(caller)
        self.chat = Chat(sender, timeout_s)
        self.completions = Completions(sender, timeout_s)
        self.embeddings = Embeddings(sender, timeout_s)

    def with_options(self, *, timeout: Any = NOT_GIVEN, **_http: Any) -> "AsyncOpenAI":
        """Return a client that shares this one's connections, with another ``timeout``."""
        copied = AsyncOpenAI.__new__(AsyncOpenAI)
        copied._use(self._caller, seconds(timeout, self._timeout_s))  # noqa: SLF001
        return copied

    copy = with_options

    def __getattr__(self, name: str) -> Any:
        raise unsupported(name)

    async def close(self) -> None:
        """Close, with all clients that share the connections."""
        await self._caller.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()


class _Blocking:
    """The same resource for threads; ``create`` waits."""

    def __init__(self, resource: Any, thread: LoopThread) -> None:
        self._resource = resource
        self._thread = thread

    def create(self, **parameters: Any) -> Any:
        return self._thread.run(self._resource.create(**parameters))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resource, name)


class _BlockingChat:
    def __init__(self, chat: Chat, thread: LoopThread) -> None:
        self._chat = chat
        self.completions = _Blocking(chat.completions, thread)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)


class OpenAI:
    """``openai.OpenAI``, for what a service can answer; see ``AsyncOpenAI``.

    Threads may share it.
    """

    def __init__(self, **options: Unpack[OpenAIOptions]) -> None:
        client = AsyncOpenAI(**options)
        self._use(client, LoopThread(client.close))

    def _use(self, client: AsyncOpenAI, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread
        self.chat = _BlockingChat(client.chat, thread)
        self.completions = _Blocking(client.completions, thread)
        self.embeddings = _Blocking(client.embeddings, thread)

    def with_options(self, **options: Any) -> "OpenAI":
        """Return a client that shares this one's connections, with another ``timeout``."""
        copied = OpenAI.__new__(OpenAI)
        copied._use(self._client.with_options(**options), self._thread)  # noqa: SLF001
        return copied

    copy = with_options

    def __getattr__(self, name: str) -> Any:
        raise unsupported(name)

    def close(self) -> None:
        """Close, with all clients that share the connections."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()
