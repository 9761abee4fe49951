"""Stands in for Splunk's own module, which exists inside Splunk alone: the base class of persistent handlers."""


class PersistentServerConnectionApplication:
    """What a handler inherits; made once per process with the command line of the stanza, then asked many times."""
