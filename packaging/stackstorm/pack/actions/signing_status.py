"""Who signed these files, and does the EDR trust it?"""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class SigningStatus(Action):
    """Answers `cbsigned.signing_status`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("signing_status", self.config, parameters)
