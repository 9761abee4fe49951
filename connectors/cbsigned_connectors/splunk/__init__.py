"""The Splunk app: search commands, the persistent handler that they ask, and the alert action.

Nothing is imported here: the search commands start in a process of their own for every search.
"""
