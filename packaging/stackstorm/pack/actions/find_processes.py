"""Processes that a query finds, each with the signing status of its image."""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class FindProcesses(Action):
    """Answers `cbsigned.find_processes`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("find_processes", self.config, parameters)
