"""Each kind of fault, as an action on a stage."""

import asyncio
import signal
from collections.abc import Mapping

from consumer.kafka.transactions.names import transactional_id_of
from consumer.ports import TopicPartition
from tests.chaos.faults.log_faults import Action, LogFaults
from tests.chaos.faults.schedule import CLEAN, CUTTING_OFF, UNDISTURBING, Fault, Kind
from tests.chaos.load.records import NewRecord
from tests.chaos.stage.coordinators import Role, find_coordinator, leader_of
from tests.chaos.stage.stage import (
    PARTITIONS,
    SESSION_TIMEOUT_S,
    TRANSACTION_TIMEOUT_S,
    Stage,
)

_PAST_TIMEOUTS_S = max(SESSION_TIMEOUT_S, TRANSACTION_TIMEOUT_S) + 1.5
_MOST_MEMBERS = 5
_MAP_RECORDS = 1_600
_LEADERLESS_S = 5.0
"""Long enough for the other partitions that the node led to get other leaders."""
_OTHERS_PATIENCE_S = 20.0
_UNCOMMITTED_S = {
    # A member publishes until the session that it knows of is over.
    Kind.ASYMMETRIC_CUT: SESSION_TIMEOUT_S,
    Kind.COORDINATOR_LOADING: 2.0,
}


class Faults:
    """Injects faults into a stage.

    Args:
        stage: The stage.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._actions: Mapping[Kind, Action] = {
            **LogFaults(stage).actions,
            Kind.CONSUMER_KILL: self._consumer_kill,
            Kind.CONSUMER_FREEZE: self._consumer_freeze,
            Kind.CONSUMER_RESTART: self._consumer_restart,
            Kind.CONSUMER_JOINS: self._consumer_joins,
            Kind.CONSUMER_LEAVES: self._consumer_leaves,
            Kind.REVOKE_DURING_COMMIT: self._revoke_during_commit,
            Kind.REVOKE_DURING_GENERATION: self._revoke_during_generation,
            Kind.MODEL_KILL: self._model_kill,
            Kind.MODEL_FREEZE: self._model_freeze,
            Kind.HUNG_MODEL: self._hung_model,
            Kind.BROKER_KILL: self._broker_kill,
            Kind.BROKER_FREEZE: self._broker_freeze,
            Kind.BROKER_RESTART: self._broker_restart,
            Kind.CONNECTION_CUT: self._connection_cut,
            Kind.CONNECTION_DELAY: self._connection_delay,
            Kind.ASYMMETRIC_CUT: self._asymmetric_cut,
            Kind.COORDINATOR_LOADING: self._coordinator_loading,
            Kind.PRODUCE_REFUSED: self._produce_refused,
            Kind.PRODUCE_UNKNOWN: self._produce_unknown,
            Kind.POISON: self._poison,
            Kind.FAILING_RECORD: self._failing_record,
            Kind.TOMBSTONES: self._tombstones,
            Kind.MALFORMED: self._malformed,
            Kind.OVERSIZED: self._oversized,
            Kind.METADATA_LIMIT: self._metadata_limit,
            Kind.LEADER_MOVE: self._leader_move,
            Kind.LEADERLESS_RESULTS: self._leaderless_results,
            Kind.LEADERLESS_REQUESTS: self._leaderless_requests,
            Kind.GROUP_COORDINATOR_MOVE: self._group_coordinator_move,
            Kind.TRANSACTION_COORDINATOR_MOVE: self._transaction_coordinator_move,
        }

    async def do(self, fault: Fault) -> None:
        """Inject a fault; return when the stage can be judged again."""
        name = f"#{fault.number} {fault.kind.value}"
        action = self._actions[fault.kind]
        await self._stage.during(
            name,
            lambda: action(fault),
            is_clean=fault.kind in CLEAN,
            is_disturbing=fault.kind not in UNDISTURBING,
            is_cutting_off=fault.kind in CUTTING_OFF,
            uncommitted_s=_UNCOMMITTED_S.get(fault.kind, 0.0),
        )

    # --- consumers ---

    async def _consumer_kill(self, fault: Fault) -> None:
        await self._stage.member(fault.victim).kill()
        # Its replacement starts by itself.
        await asyncio.sleep(0.5)
        await self._stage.balanced()

    async def _consumer_freeze(self, fault: Fault) -> None:
        member = self._stage.member(fault.victim)
        member.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(_PAST_TIMEOUTS_S + 2 * fault.strength)
        finally:
            member.signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
        await self._stage.balanced()

    async def _consumer_restart(self, fault: Fault) -> None:
        member = self._stage.member(fault.victim)
        await self._stage.remove_member(member)
        await self._stage.add_member(member.rank)
        await self._stage.balanced()

    async def _consumer_joins(self, fault: Fault) -> None:
        if len(self._stage.members) >= _MOST_MEMBERS:
            await self._consumer_leaves(fault)
            return
        await self._stage.add_member(self._stage.free_rank())
        await self._joined()

    async def _consumer_leaves(self, fault: Fault) -> None:
        if len(self._stage.members) <= 1:
            await self._consumer_joins(fault)
            return
        await self._stage.remove_member(self._stage.member(fault.victim))
        await self._stage.balanced()

    async def _joined(self) -> None:
        member = self._stage.members[-1]
        await self._stage.until(
            lambda: member.has_joined.is_set() or not member.is_alive, 30, "a member has joined"
        )
        await asyncio.sleep(0.5)
        await self._stage.balanced()

    async def _revoke_during_commit(self, fault: Fault) -> None:
        members = list(self._stage.members)
        delay_s = 0.5 + fault.strength
        for member in members:
            await member.command(commit_delay_s=delay_s)
        try:
            await self._consumer_joins(fault)
        finally:
            for member in members:
                await member.command(commit_delay_s=0.0)
        # A slow commit is still under way, and the next fault may rely on quick ones.
        await asyncio.sleep(delay_s)

    async def _revoke_during_generation(self, fault: Fault) -> None:
        ms = 4_000 + round(2_000 * fault.strength)
        slow = [self._on(number % PARTITIONS, ms=ms) for number in range(16)]
        await self._stage.load.publish(slow)
        # Long enough to be read and in flight, too short to be done.
        await asyncio.sleep(0.7)
        await self._consumer_joins(fault)
        await self._consumer_leaves(fault)

    # --- models ---

    async def _model_kill(self, fault: Fault) -> None:
        models = self._stage.models
        model = models[fault.victim % len(models)]
        model.signal(signal.SIGKILL)
        await asyncio.sleep(1.0)

    async def _model_freeze(self, fault: Fault) -> None:
        models = self._stage.models
        model = models[fault.victim % len(models)]
        model.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(_PAST_TIMEOUTS_S + 2 * fault.strength)
        finally:
            model.signal(signal.SIGCONT)

    async def _hung_model(self, fault: Fault) -> None:
        models = self._stage.models
        models[fault.victim % len(models)].signal(signal.SIGUSR1)
        # They end with their limit, long after this. The checker sees whether each record ends.
        await asyncio.sleep(1.0)

    # --- brokers ---

    async def _broker_kill(self, fault: Fault) -> None:
        nodes = self._stage.cluster.nodes
        await self._kill_node(nodes[fault.victim % len(nodes)].number)

    async def _kill_node(self, number: int) -> None:
        node = next(each for each in self._stage.cluster.nodes if each.number == number)
        node.kill()
        await asyncio.sleep(0.5)
        await self._stage.cluster.restart(node)
        await self._stage.balanced()

    async def _broker_freeze(self, fault: Fault) -> None:
        nodes = self._stage.cluster.nodes
        node = nodes[fault.victim % len(nodes)]
        node.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(_PAST_TIMEOUTS_S)
        finally:
            node.signal(signal.SIGCONT)
        await asyncio.sleep(1.0)
        await self._stage.balanced()

    async def _broker_restart(self, fault: Fault) -> None:
        nodes = self._stage.cluster.nodes
        node = nodes[fault.victim % len(nodes)]
        await node.stop()
        await self._stage.cluster.restart(node)
        await self._stage.balanced()

    async def _leader_move(self, fault: Fault) -> None:
        topic = self._stage.route.results_topic
        partition = fault.victim % PARTITIONS
        await self._kill_node(await leader_of(self._stage.cluster.bootstrap, topic, partition))

    async def _leaderless_results(self, fault: Fault) -> None:
        await self._leaderless(self._stage.route.results_topic, fault)

    async def _leaderless_requests(self, fault: Fault) -> None:
        await self._stage.load.published_around([fault.victim % PARTITIONS])
        try:
            await self._leaderless(self._stage.route.requests_topic, fault)
        finally:
            await self._stage.load.published_around([])

    async def _leaderless(self, topic: str, fault: Fault) -> None:
        """Leave a partition without a leader until all others are seen to continue.

        A record's results go to the partition with the record's own number: keys are placed alike.
        In exactly-once, others also wait for a partition of the results: a consumer that lost a
        connection may have a transaction open in it.
        """
        stage = self._stage
        nodes = stage.cluster.nodes
        node = nodes[fault.victim // PARTITIONS % len(nodes)]
        partition = fault.victim % PARTITIONS
        others = [each for each in range(PARTITIONS) if each != partition]
        await stage.place(topic, partition, [node.number])
        # A clean stop: Kafka does not trust data that only a killed node has.
        await node.stop()
        try:
            await asyncio.sleep(_LEADERLESS_S)
            since_s = stage.now_s()
            if topic == stage.route.requests_topic or stage.route.delivery == "at_least_once":
                await stage.until(
                    lambda: all(stage.checker.latest_outcome_s(each) > since_s for each in others),
                    _OTHERS_PATIENCE_S,
                    f"outcomes of all partitions but {partition}, which has no leader",
                )
        finally:
            await stage.cluster.restart(node)
            await stage.place(topic, partition, [each.number for each in nodes])
        await stage.balanced()

    async def _group_coordinator_move(self, fault: Fault) -> None:
        group = self._stage.route.group
        bootstrap = self._stage.cluster.bootstrap
        await self._kill_node(await find_coordinator(bootstrap, group, Role.GROUP))

    async def _transaction_coordinator_move(self, fault: Fault) -> None:
        route = self._stage.route
        partition = TopicPartition(route.requests_topic, fault.victim % PARTITIONS)
        name = transactional_id_of(route.group, partition)
        bootstrap = self._stage.cluster.bootstrap
        await self._kill_node(await find_coordinator(bootstrap, name, Role.TRANSACTION))

    # --- connections and producing ---

    async def _connection_cut(self, fault: Fault) -> None:
        cuts = [node.proxy.cut_for(0.2 + 2 * fault.strength) for node in self._stage.cluster.nodes]
        await asyncio.gather(*cuts)
        await asyncio.sleep(0.5)
        await self._stage.balanced()

    async def _connection_delay(self, fault: Fault) -> None:
        nodes = self._stage.cluster.nodes
        delay_s = 0.05 + 0.3 * fault.strength
        for node in nodes:
            node.proxy.delay_s = delay_s
        try:
            await asyncio.sleep(2.0)
        finally:
            for node in nodes:
                node.proxy.delay_s = 0.0
        # Delayed data passes, in both directions.
        await asyncio.sleep(2 * delay_s)
        await self._stage.balanced()

    async def _asymmetric_cut(self, fault: Fault) -> None:
        victim = self._stage.member(fault.victim)
        duration_s = _PAST_TIMEOUTS_S + 2 * fault.strength
        nodes = self._stage.cluster.nodes
        await asyncio.gather(
            *(node.proxy.withhold_for(duration_s, victim.has_port) for node in nodes)
        )
        await asyncio.sleep(0.5)
        await self._stage.balanced()

    async def _coordinator_loading(self, fault: Fault) -> None:
        if len(self._stage.members) == 1:
            await self._consumer_joins(fault)
        leaving = self._stage.member(fault.victim)
        taking_over = [each for each in self._stage.members if each is not leaving]
        for member in taking_over:
            await member.command(loading_answers=2 + round(fault.strength))
        try:
            await self._stage.remove_member(leaving)
            await self._stage.balanced()
        finally:
            for member in taking_over:
                await member.command(loading_answers=0)
        await self._stage.add_member(leaving.rank)
        await self._joined()

    async def _produce_refused(self, fault: Fault) -> None:
        await self._fail_batches("refused_batches", fault)

    async def _produce_unknown(self, fault: Fault) -> None:
        await self._fail_batches("unknown_batches", fault)

    async def _fail_batches(self, name: str, fault: Fault) -> None:
        members = list(self._stage.members)
        for member in members:
            await member.command(**{name: 1 + round(3 * fault.strength)})
        await asyncio.sleep(2.0)
        # A member without a partition would fail at its first batch, long after this fault.
        for member in members:
            await member.command(**{name: 0})

    # --- records ---

    def _on(self, partition: int, **body: object) -> NewRecord:
        key = self._stage.load.key_for(partition)
        return NewRecord(key, self._stage.load.workload.make(**body).value)

    async def _poison(self, fault: Fault) -> None:
        deaths = sum(model.deaths for model in self._stage.models)
        await self._stage.load.publish([self._stage.load.workload.make(poison=True)])
        await self._stage.until(
            lambda: sum(model.deaths for model in self._stage.models) > deaths,
            20,
            "the poison has killed a model replica",
        )
        await asyncio.sleep(3.0)

    async def _failing_record(self, fault: Fault) -> None:
        workload = self._stage.load.workload
        await self._stage.load.publish([workload.make(fail=True, ms=5) for _ in range(5)])

    async def _tombstones(self, fault: Fault) -> None:
        workload = self._stage.load.workload
        await self._stage.load.publish([workload.tombstone() for _ in range(10)])

    async def _malformed(self, fault: Fault) -> None:
        workload = self._stage.load.workload
        await self._stage.load.publish([workload.malformed() for _ in range(10)])

    async def _oversized(self, fault: Fault) -> None:
        workload = self._stage.load.workload
        await self._stage.load.publish([workload.oversized() for _ in range(3)])

    async def _metadata_limit(self, fault: Fault) -> None:
        partition = fault.victim % PARTITIONS
        # One unfinished in six over a long span: both formats of the map become long.
        records = [
            self._on(partition, ms=0 if number % 6 else 3_000) for number in range(_MAP_RECORDS)
        ]
        await self._stage.load.publish_together(records)
        await asyncio.sleep(3.0)
