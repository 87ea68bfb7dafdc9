"""langchain-openai and pydantic-ai: the same through frameworks."""
import pydantic
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from conftest import KEY, URL


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def langchain(model, **more):
    return ChatOpenAI(model=model, base_url=URL, api_key=KEY, max_retries=0, **more)


def agent(model, **more):
    return Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=URL, api_key=KEY)), **more)


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
    import asyncio

    async def main():
        async with agent("stub/echo").run_stream("one two three") as result:
            return [piece async for piece in result.stream_text(delta=True)]

    assert "".join(asyncio.run(main())) == "one two three"


def test_pydantic_ai_sees_the_status_of_an_error():
    with pytest.raises(ModelHTTPError) as caught:
        agent("stub/error:status=400").run_sync("x")
    assert caught.value.status_code == 400
