"""Files that a query finds, each with its signing status."""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class FindBinaries(Action):
    """Answers `cbsigned.find_binaries`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("find_binaries", self.config, parameters)
