"""The planner against a scripted model server, asked by the official client."""

from __future__ import annotations

import ollama
import pytest

from conftest import planner, steps
from fleet import PlanningError
from windtunnel.models import ModelServer


async def test_a_plan_is_read_from_the_models_answer(model: ModelServer):
    plan = await planner().plan("shout backwards")
    assert [step.tool for step in plan.steps] == ["upper", "reverse_words"]


async def test_the_model_is_told_the_tools_and_the_shape_of_a_plan(model: ModelServer):
    await planner().plan("shout backwards")
    call = model.last_request.call
    assert "reverse_words" in call.system
    assert call.schema["properties"].keys() == {"steps"}
    assert not call.stream


@pytest.mark.parametrize("answer", ["I'd rather talk", '{"steps": []}', steps(("fly", "home"))])
async def test_an_unusable_answer_is_sent_back_with_what_is_wrong(answer: str, model: ModelServer):
    model.set_response(answer, steps(("upper", "a")))
    plan = await planner().plan("anything")
    assert plan.steps[0].tool == "upper"
    assert "cannot be used" in model.last_request.call.last_user_text


async def test_the_planner_gives_up_after_three_unusable_answers(model: ModelServer):
    model.set_response("no")
    with pytest.raises(PlanningError, match="after 3 tries"):
        await planner().plan("anything")
    assert model.request_count == 3


async def test_a_model_that_is_not_there_is_an_error_of_the_caller(model: ModelServer):
    model.remove_model("llama3.2")
    with pytest.raises(ollama.ResponseError, match="not found"):
        await planner().plan("anything")
