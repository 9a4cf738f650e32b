"""A process with a defect: its task fails, again and again."""

from temporalio import workflow


@workflow.defn
class Failing:
    """Never gets anywhere."""

    @workflow.run
    async def run(self) -> None:
        """Fail as code does that is wrong."""
        raise KeyError("a defect")
