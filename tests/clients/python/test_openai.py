"""openai-python: what its users do."""
import time

import openai
import pydantic
import pytest

from conftest import KEY, URL, WIRE, admin, cancelled, ledger, settled

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}


def said(text):
    return [{"role": "user", "content": text}]


def test_chat_answers_with_usage_cost_and_metadata(client, request_id):
    reply = client.chat.completions.with_raw_response.create(model="stub/echo", messages=said("hello there"), extra_headers={"x-request-id": request_id})
    answer = reply.parse()
    assert answer.choices[0].message.content == "hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "stub/echo"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.metadata["used_provider"] == "stub" and answer._request_id == request_id
    row = ledger(request_id)[0]
    assert row["outcome"] == "completed" and float(row["cost_usd"]) == answer.usage.cost


def test_the_same_idempotency_key_is_the_same_answer(client, request_id):
    ask = lambda: client.chat.completions.with_raw_response.create(model="stub/echo", messages=said("once"), extra_headers={"Idempotency-Key": request_id})
    first, second = ask(), ask()
    assert first.parse().id == second.parse().id and first.content == second.content
    assert second.headers["x-gateway-idempotent-replay"] == "true"


def test_a_stream_arrives_in_pieces_with_usage_last(client):
    stream = client.chat.completions.create(model="stub/drip:events=5,ms=1", messages=said("x"), stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == 5
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens >= 1
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_has_no_usage_unless_it_was_asked_for(client):
    chunks = list(client.chat.completions.create(model="stub/echo", messages=said("x"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_the_stream_helper_puts_tool_calls_together(client):
    with client.chat.completions.stream(model="stub/tools", messages=said("x"), tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "weather"]
    assert len({call.id for call in calls}) == 2 and final.choices[0].finish_reason == "tool_calls"


def test_a_tool_is_called_and_its_result_used(client):
    messages = said("How is it in Rome?")
    first = client.chat.completions.create(model="stub/tool", messages=messages, tools=[WEATHER]).choices[0]
    assert first.finish_reason == "tool_calls"
    call = first.message.tool_calls[0]
    messages += [first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = client.chat.completions.create(model="stub/tool", messages=messages, tools=[WEATHER]).choices[0]
    assert "sunny" in second.message.content


def test_structured_output_is_parsed(client):
    class City(pydantic.BaseModel):
        name: str
        inhabitants: int

    parsed = client.chat.completions.parse(model="stub/echo", messages=said("x"), response_format=City).choices[0].message.parsed
    assert isinstance(parsed, City)


def test_an_image_reaches_the_model(client):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
    answer = client.chat.completions.create(model="stub/echo", messages=[{"role": "user", "content": content}])
    assert "[1 image]" in answer.choices[0].message.content


def test_reasoning_has_one_name(client):
    # Thinking between tags is a habit of models behind OpenAI's own format.
    for model in ("stub/reasoning", "stub/think") if WIRE == "openai" else ("stub/reasoning",):
        assert client.chat.completions.create(model=model, messages=said("x")).choices[0].message.reasoning
        chunks = list(client.chat.completions.create(model=model, messages=said("x"), stream=True))
        assert "".join(getattr(chunk.choices[0].delta, "reasoning", None) or "" for chunk in chunks)


@pytest.mark.parametrize("model,kind", [
    ("stub/error:status=400", openai.BadRequestError),
    ("stub/error:status=429", openai.RateLimitError),
    ("stub/error:status=500", openai.InternalServerError),
    ("no-such-model", openai.NotFoundError),
])
def test_errors_have_their_class(client, model, kind):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model=model, messages=said("x"))
    assert caught.value.body["message"] and caught.value.body["type"]


def test_a_wrong_key_is_an_authentication_error():
    with pytest.raises(openai.AuthenticationError) as caught:
        openai.OpenAI(base_url=URL, api_key="lgw_wrong", max_retries=0).models.list()
    assert caught.value.code == "invalid_api_key"


def test_a_key_that_may_not_use_a_model_is_refused_permission():
    key = admin("/keys", {"name": "narrow", "models": {"deny": ["stub/echo"]}})["key"]
    with pytest.raises(openai.PermissionDeniedError) as caught:
        openai.OpenAI(base_url=URL, api_key=key, max_retries=0).chat.completions.create(model="stub/echo", messages=said("x"))
    assert caught.value.code == "permission_denied"


def test_a_key_over_its_limit_is_told_when_to_come_back():
    narrow = openai.OpenAI(base_url=URL, api_key=admin("/keys", {"name": "slow", "rpm": 1})["key"], max_retries=0)
    narrow.chat.completions.create(model="stub/echo", messages=said("x"))
    with pytest.raises(openai.RateLimitError) as caught:
        narrow.chat.completions.create(model="stub/echo", messages=said("x"))
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded" and 0 < int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"])


def test_a_failure_of_the_provider_is_tried_again(client, request_id):
    patient = client.with_options(max_retries=4)
    answers = [patient.chat.completions.create(model="stub/flaky:every=2", messages=said("x"), extra_headers={"x-request-id": request_id}) for _ in range(2)]
    assert all(answer.choices for answer in answers)
    # Two answers with at least one failure between them; each worker books its own.
    outcomes = [row["outcome"] for row in ledger(request_id, 3, 2)]
    assert outcomes.count("completed") == 2 and "failed" in outcomes


def test_a_refused_credential_is_not_tried_again(client, request_id):
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=3).chat.completions.create(model="stub/error:status=401", messages=said("x"), extra_headers={"x-request-id": request_id})
    assert caught.value.code == "upstream_auth" and caught.value.response.headers["x-should-retry"] == "false"
    assert len(settled(request_id, client)) == 1


def test_retry_after_is_waited_for(client, request_id):
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=1).chat.completions.create(model="stub/error:status=429,retry_after=1", messages=said("x"), extra_headers={"x-request-id": request_id})
    assert time.monotonic() - began >= 1 and len(ledger(request_id, 2)) == 2
    assert caught.value.response.headers["retry-after"] == "1" and caught.value.response.headers["retry-after-ms"] == "1000"


def test_a_retry_after_of_minutes_is_left_to_the_user(client, request_id):
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=2).chat.completions.create(model="stub/error:status=429,retry_after=200", messages=said("x"), extra_headers={"x-request-id": request_id})
    assert caught.value.response.headers["retry-after-ms"] == "200000"
    assert len(settled(request_id, client)) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["stub/slow:ms=20000", "stub/silent"])
def test_a_client_that_gives_up_is_booked_as_cancelled(client, request_id, model, stream):
    with pytest.raises(openai.APITimeoutError):
        answer = client.with_options(timeout=0.5).chat.completions.create(model=model, messages=said("x"), stream=stream, extra_headers={"x-request-id": request_id})
        list(answer)
    assert cancelled(request_id)


def test_a_stream_that_is_left_is_booked_as_cancelled(client, request_id):
    stream = client.chat.completions.create(model="stub/drip:events=1000,ms=50", messages=said("x"), stream=True, extra_headers={"x-request-id": request_id})
    next(iter(stream))
    stream.close()
    assert cancelled(request_id)


@pytest.mark.parametrize("model,code", [("stub/truncate:after=3", "stream_truncated"), ("stub/error_event:after=3", "upstream_error")])
def test_a_stream_that_breaks_raises_after_what_was_delivered(client, request_id, model, code):
    got = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model=model, messages=said("one two three four five"), stream=True, extra_headers={"x-request-id": request_id}):
            got.append(chunk)
    assert got and caught.value.code == code and not any(chunk.choices[0].finish_reason for chunk in got)
    assert ledger(request_id)[0]["outcome"] == "failed"


@pytest.mark.parametrize("stream,model", [(True, "stub/truncate:after=0"), (False, "stub/truncate:after=3")])
def test_an_answer_that_breaks_before_anything_was_delivered_has_a_status(client, stream, model):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model, messages=said("x"), stream=stream)
    assert caught.value.status_code == 502


def test_models_are_listed(client):
    ids = [model.id for model in client.models.list()]
    assert "auto" in ids and "echo" in ids
    assert client.models.retrieve("echo").id == "echo"


def test_many_choices_and_log_probabilities(client):
    if WIRE not in ("openai", "gemini"):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="stub/echo", messages=said("a b"), n=3)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "n")
        return
    if WIRE == "gemini":
        assert len(client.chat.completions.create(model="stub/echo", messages=said("a b"), n=3).choices) == 3
        return
    answer = client.chat.completions.create(model="stub/echo", messages=said("a b"), n=3, logprobs=True)
    assert len(answer.choices) == 3 and answer.choices[2].logprobs.content


@pytest.mark.parametrize("stream", [False, True])
def test_explicit_nulls_mean_not_given(client, stream):
    answer = client.chat.completions.create(model="stub/echo", messages=said("x"), stream=stream, temperature=None, tools=None, stop=None)
    assert list(answer) if stream else answer.choices


def test_async_calls_run_side_by_side():
    import asyncio

    async def main():
        async with openai.AsyncOpenAI(base_url=URL, api_key=KEY) as client:
            calls = [client.chat.completions.create(model="stub/slow:ms=200", messages=said(str(number))) for number in range(20)]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    assert asyncio.run(main()) == [str(number) for number in range(20)]
