"""What an overview is made of: what consumers, Serve, the brokers and the registry said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from headrace.overview.history import RouteHistory
from headrace.overview.known import KnownService
from headrace.overview.snapshot import Lag, Replicas
from headrace_client.registry.standing import JobStanding


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFacts:
    """A deployment as Serve sees it.

    Attributes:
        status: Serve's own word: ``HEALTHY``, ``UPDATING``, ``DEPLOY_FAILED`` and so on.
        running: Replicas that run.
        target: Replicas that are to run, those that start among them.
        message: Serve's explanation, of any number of lines.
        is_stopping: Whether its application is being deleted.
        lack: A line on what is missing, if something is.
    """

    status: str = "HEALTHY"
    running: int = 0
    target: int = 0
    message: str = ""
    is_stopping: bool = False
    lack: str | None = None

    @property
    def replicas(self) -> Replicas:
        return Replicas(running=self.running, target=self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerFacts:
    """What the status board knows of the consumers.

    Attributes:
        now_s: Seconds of the board's monotonic clock.
        up_s: How long the board has run: what it has not heard yet it does not know.
        live: The latest snapshots of those that report, by route.
        totals: Sums by route.
        histories: What grew lately, by route.
    """

    now_s: float
    up_s: float
    live: Mapping[str, Sequence[ReplicaSnapshot]] = field(default_factory=dict)
    totals: Mapping[str, RouteStatus] = field(default_factory=dict)
    histories: Mapping[str, RouteHistory] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was gathered at one moment; what did not answer is ``None``.

    Attributes:
        at_ms: Epoch milliseconds.
        consumers: ``None`` where no service answered.
        deployments: By name, of a Serve that answered.
        decisions: The latest scaling decision by deployment, as a line.
        runs_on: What each model's replicas chose by themselves.
        lags: By route, of brokers that answered; ``None`` there: its topic is missing.
        jobs: Of a registry that was read.
        paused: Why each paused route is paused, by route: also of those without a consumer.
        no_service: Why no service answered.
        unanswered: Who else did not answer, a line each.
    """

    at_ms: int
    known: KnownService
    consumers: ConsumerFacts | None = None
    deployments: Mapping[str, DeploymentFacts] | None = None
    decisions: Mapping[str, str] = field(default_factory=dict)
    runs_on: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lags: Mapping[str, Lag | None] = field(default_factory=dict)
    jobs: Sequence[JobStanding] | None = None
    paused: Mapping[str, str] = field(default_factory=dict)
    no_service: str = ""
    unanswered: Sequence[str] = ()
