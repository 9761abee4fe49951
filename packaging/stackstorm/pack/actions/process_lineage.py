"""Where a process came from: its ancestors, each with its signing status."""

from st2common.runners.base_action import Action

from cbsigned_playbooks.stackstorm import answer


class ProcessLineage(Action):
    """Answers `cbsigned.process_lineage`; parameters and result are in the metadata beside it."""

    def run(self, **parameters):
        """Return whether it succeeded, and the result."""
        return answer("process_lineage", self.config, parameters)
