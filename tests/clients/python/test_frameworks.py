"""langchain-openai and pydantic-ai: the same through frameworks."""
import asyncio
import base64

import openai
import pydantic
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from conftest import KEY, URL, cancelled, ledger, settled


PICTURE = "data:image/png;base64,iVBORw0KGgo="


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def langchain(model, **more):
    return ChatOpenAI(model=model, base_url=URL, api_key=KEY, **{"max_retries": 0, "timeout": 20, **more})


def agent(model, request_id=None, retries=0, timeout=20, **more):
    headers = {"x-request-id": request_id} if request_id else {}
    client = openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=retries, timeout=timeout, default_headers=headers)
    return Agent(OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client)), **more)


def test_langchain_chats_and_counts():
    answer = langchain("stub/echo").invoke("hello there")
    assert answer.content == "hello there" and answer.usage_metadata["total_tokens"] > 0


def test_langchain_streams_and_counts():
    pieces = list(langchain("stub/echo", stream_usage=True).stream("one two three"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.content == "one two three" and whole.usage_metadata["output_tokens"] > 0


def test_langchain_calls_tools():
    model = langchain("stub/tool").bind_tools([weather])
    first = model.invoke("How is it in Rome?")
    call = first.tool_calls[0]
    assert call["name"] == "weather"
    second = model.invoke([("user", "How is it?"), first, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])])
    assert "sunny" in second.content


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_structures_its_output(method):
    assert isinstance(langchain("stub/echo").with_structured_output(City, method=method).invoke("x"), City)


def test_langchain_puts_streamed_tool_calls_together():
    pieces = list(langchain("stub/tools").bind_tools([weather]).stream("How is it?"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert [call["name"] for call in whole.tool_calls] == ["weather", "weather"] and all("city" in call["args"] for call in whole.tool_calls)


def test_langchain_shows_an_image():
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    assert "[1 image]" in langchain("stub/echo").invoke([("user", content)]).content


@pytest.mark.parametrize("model,kind", [("stub/error:status=400", openai.BadRequestError), ("stub/error:status=429", openai.RateLimitError), ("no-such-model", openai.NotFoundError)])
def test_langchain_raises_the_class_of_an_error(model, kind):
    with pytest.raises(kind):
        langchain(model).invoke("x")


def test_langchain_tries_again_what_may_be_tried_again(client, request_id):
    headers = {"x-request-id": request_id}
    with pytest.raises(openai.RateLimitError):
        langchain("stub/error:status=429,retry_after=1", max_retries=1, default_headers=headers).invoke("x")
    assert len(ledger(request_id, 2)) == 2
    headers = {"x-request-id": f"{request_id}-auth"}
    with pytest.raises(openai.InternalServerError):
        langchain("stub/error:status=401", max_retries=3, default_headers=headers).invoke("x")
    assert len(settled(f"{request_id}-auth", client)) == 1


def test_langchain_raises_when_a_stream_breaks():
    with pytest.raises(openai.APIError):
        list(langchain("stub/truncate:after=3").stream("one two three four"))


def test_langchain_that_gives_up_is_booked_as_cancelled(request_id):
    with pytest.raises(openai.APITimeoutError):
        langchain("stub/silent", timeout=0.5, default_headers={"x-request-id": request_id}).invoke("x")
    assert cancelled(request_id)


def test_pydantic_ai_chats():
    result = agent("stub/echo").run_sync("hello there")
    assert result.output == "hello there" and result.usage.total_tokens > 0


def test_pydantic_ai_structures_its_output():
    assert isinstance(agent("stub/echo", output_type=City).run_sync("x").output, City)


def test_pydantic_ai_calls_tools():
    helper = agent("stub/tool")
    asked = []

    @helper.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    assert "sunny" in helper.run_sync("How is it in Rome?").output and asked


def test_pydantic_ai_streams():
    async def main():
        async with agent("stub/echo").run_stream("one two three") as result:
            return [piece async for piece in result.stream_text(delta=True)]

    assert "".join(asyncio.run(main())) == "one two three"


def test_pydantic_ai_sees_the_status_of_an_error():
    with pytest.raises(ModelHTTPError) as caught:
        agent("stub/error:status=400").run_sync("x")
    assert caught.value.status_code == 400


def test_pydantic_ai_shows_an_image():
    picture = BinaryContent(base64.b64decode(PICTURE.partition(",")[2]), media_type="image/png")
    assert "[1 image]" in agent("stub/echo").run_sync(["What is this?", picture]).output


def test_pydantic_ai_tries_again_what_may_be_tried_again(client, request_id):
    with pytest.raises(ModelHTTPError) as caught:
        agent("stub/error:status=429,retry_after=1", request_id, retries=1).run_sync("x")
    assert caught.value.status_code == 429 and len(ledger(request_id, 2)) == 2
    with pytest.raises(ModelHTTPError) as caught:
        agent("stub/error:status=401", f"{request_id}-auth", retries=3).run_sync("x")
    assert caught.value.status_code == 502 and len(settled(f"{request_id}-auth", client)) == 1


def test_pydantic_ai_raises_when_a_stream_breaks():
    async def main():
        async with agent("stub/truncate:after=3").run_stream("one two three four") as result:
            return [piece async for piece in result.stream_text(delta=True)]

    with pytest.raises((openai.APIError, ModelAPIError)):
        asyncio.run(main())


def test_pydantic_ai_that_gives_up_is_booked_as_cancelled(request_id):
    with pytest.raises(ModelAPIError):
        agent("stub/silent", request_id, timeout=0.5).run_sync("x")
    assert cancelled(request_id)
