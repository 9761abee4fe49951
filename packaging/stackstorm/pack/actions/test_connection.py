"""Is the EDR reachable, and what may the token do?"""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class TestConnection(Action):
    """Answers `cbsigned.test_connection`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("test_connection", self.config, parameters)
