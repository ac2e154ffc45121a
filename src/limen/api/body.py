"""Bodies of admin API calls: a field that nobody knows is an error, never left out in silence."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
"""A reason that must be given: what it stands for changes what somebody may do, at once."""


class Body(BaseModel):
    """What a call was sent. A misspelt field was meant to do something, and would not have."""

    model_config = ConfigDict(extra="forbid")
