"""On which hosts a file is, and which processes ran, loaded or wrote it."""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class WhereSeen(Action):
    """Answers `cbsigned.where_seen`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("where_seen", self.config, parameters)
