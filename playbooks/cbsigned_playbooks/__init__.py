"""Playbook actions of cbsigned: defined once here, bound to each SOAR platform."""
