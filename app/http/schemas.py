"""Bodies and answers of any API: what all of them have in common."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Nothing(Body):
    """A body that says nothing: `{}`, or none at all."""


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)
