"""Abuse detection from request logs: bytes -> event -> rule -> window -> alert -> decision.

Everything here is pure: lines, the time and the never-ban set come in as arguments, alerts and decisions go out as
values. Readers, storage and enforcement stand around it.
"""
