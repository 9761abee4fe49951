"""Playbooks of our own: a YAML file with a trigger, a few actions of the catalogue, and an outcome to suggest."""
