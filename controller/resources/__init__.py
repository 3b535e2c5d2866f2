"""Builders of the children: pure functions from a ModelDeployment to plain dicts, one module a kind.

A builder returns None for a child that is not wanted.
"""
