"""Verifiers that other people wrote, and the logs that they are given."""
