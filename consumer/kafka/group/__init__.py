"""Membership of a consumer group: assignment, static members, session."""
