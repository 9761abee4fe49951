"""Signing status and lineage of everything that an alert names."""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class EnrichAlert(Action):
    """Answers `cbsigned.enrich_alert`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("enrich_alert", self.config, parameters)
