"""Bodies of admin API calls: a field that nobody knows is an error, never left out in silence."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """What a call was sent. A misspelt field was meant to do something, and would not have."""

    model_config = ConfigDict(extra="forbid")
