"""Turns a goal into a plan by asking a language model behind the Ollama API."""

from __future__ import annotations

import ollama
import pydantic

from fleet.tools import REGISTRY, catalogue

PROMPT = """You plan work for a fleet of workers. Answer with JSON only.
Each step names one tool and its argument; {{previous}} in an argument stands for the result of \
the step before it. Tools:
{catalogue}"""


class Step(pydantic.BaseModel):
    """One call of a tool."""

    tool: str
    argument: str


class Plan(pydantic.BaseModel):
    """The steps that reach a goal, in order."""

    steps: list[Step] = pydantic.Field(min_length=1, max_length=20)


class PlanningError(Exception):
    """The model gave no usable plan."""


class Planner:
    """Asks ``model`` for plans; a plan that cannot be used is sent back with what is wrong."""

    def __init__(self, client: ollama.AsyncClient, model: str = "llama3.2", tries: int = 3) -> None:
        self._client = client
        self._model = model
        self._tries = tries

    async def plan(self, goal: str) -> Plan:
        """A plan whose tools all exist.

        :raises PlanningError: after ``tries`` unusable answers.
        """
        messages = [
            {"role": "system", "content": PROMPT.format(catalogue=catalogue())},
            {"role": "user", "content": goal},
        ]
        problem = ""
        for _ in range(self._tries):
            answer = await self._client.chat(
                model=self._model,
                messages=messages,
                format=Plan.model_json_schema(),
                options={"temperature": 0},
            )
            content = answer.message.content or ""
            try:
                return self._usable(content)
            except ValueError as error:
                problem = str(error)
            messages += [
                {"role": "assistant", "content": content},
                {"role": "user", "content": f"That cannot be used: {problem}. Try again."},
            ]
        raise PlanningError(f"no plan for {goal!r} after {self._tries} tries: {problem}")

    def _usable(self, content: str) -> Plan:
        plan = Plan.model_validate_json(content)
        unknown = sorted({step.tool for step in plan.steps} - REGISTRY.keys())
        if unknown:
            raise ValueError(f"there is no tool {', '.join(unknown)}")
        return plan
