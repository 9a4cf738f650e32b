"""A workflow with a defect: its task fails, again and again."""

from temporalio import workflow


@workflow.defn
class Failing:
    """A workflow that fails at its first task."""

    @workflow.run
    async def run(self) -> None:
        """Raise an error as a bug does."""
        raise KeyError("a defect")
