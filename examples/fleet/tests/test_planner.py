"""The planner against a scripted model."""

from __future__ import annotations

import httpx
import ollama
import pytest

from conftest import Model, steps
from fleet import Planner, PlanningError


async def test_a_plan_is_read_from_the_models_answer(model: Model):
    plan = await model.planner().plan("shout backwards")
    assert [step.tool for step in plan.steps] == ["upper", "reverse_words"]


async def test_the_model_is_told_the_tools_and_the_shape_of_a_plan(model: Model):
    await model.planner().plan("shout backwards")
    request = model.requests[0]
    assert "reverse_words" in request["messages"][0]["content"]
    assert request["format"]["properties"].keys() == {"steps"}
    assert request["stream"] is False


@pytest.mark.parametrize("answer", ["I'd rather talk", '{"steps": []}', steps(("fly", "home"))])
async def test_an_unusable_answer_is_sent_back_with_what_is_wrong(answer: str):
    model = Model([answer, steps(("upper", "a"))])
    plan = await model.planner().plan("anything")
    assert plan.steps[0].tool == "upper"
    assert "cannot be used" in model.requests[1]["messages"][-1]["content"]


async def test_the_planner_gives_up_after_three_unusable_answers():
    model = Model(["no"])
    with pytest.raises(PlanningError, match="after 3 tries"):
        await model.planner().plan("anything")
    assert len(model.requests) == 3


async def test_an_error_of_the_model_server_reaches_the_caller():
    def broken(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"error": "model 'llama3.2' not found"})

    planner = Planner(ollama.AsyncClient(transport=httpx.MockTransport(broken)))
    with pytest.raises(ollama.ResponseError, match="not found"):
        await planner.plan("anything")
