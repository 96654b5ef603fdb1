"""From when on a route's alerts fire, where that is for its owner to say."""

from pydantic import Field

from schemas.settings.section import Section

_LAST_BOUND_S = 14_400
"""Of the histograms: they tell of no time beyond it, so an alert on more would never fire."""


class AlertSettings(Section):
    """Limits of a route's alerts, in seconds; ``null`` turns an alert off."""

    lag_s: float | None = Field(
        default=14_400.0,
        gt=0,
        description="HeadraceLagTooLong: a record waits longer than this for its outcome. Much "
        "shorter than the requests topic keeps its records.",
    )
    held_s: float | None = Field(
        default=3_600.0,
        gt=0,
        description="HeadraceRecordHeldTooLong: a record was read so long ago and has no outcome.",
    )
    paused_s: float | None = Field(
        default=3_600.0,
        gt=0,
        description="HeadracePausedLong: a person paused the route so long ago.",
    )
    end_to_end_p99_s: float | None = Field(
        default=None,
        gt=0,
        lt=_LAST_BOUND_S,
        description="HeadraceSlow: one record in a hundred takes longer, from its timestamp to its "
        "outcome. Unset: a topic that is filled all at once has no such limit.",
    )
    commit_p99_s: float | None = Field(
        default=5.0,
        gt=0,
        lt=_LAST_BOUND_S,
        description="HeadraceCommitsSlow: one commit in a hundred takes longer.",
    )
    publish_p95_s: float | None = Field(
        default=5.0,
        gt=0,
        lt=_LAST_BOUND_S,
        description="HeadracePublishingSlow: one outcome in twenty waits longer for the brokers' "
        "acknowledgement.",
    )
