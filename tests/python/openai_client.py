"""The official client against an endpoint of ours: what works in it works for every program built on it.

Each check prints its name when it has passed; the first that fails ends the script.
"""

import json

import openai

MODEL = "smollm2-135m"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

client = openai.OpenAI(max_retries=0, timeout=120)


def models():
    assert [model.id for model in client.models.list()] == [MODEL]


def chat():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    assert answer.object == "chat.completion" and answer.model == MODEL, answer
    assert "Paris" in answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason in ("stop", "length"), answer
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 24, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


def chat_streamed():
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    with_choices = [chunk for chunk in chunks if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in with_choices)
    assert "Paris" in text, text
    assert len(with_choices) > 3, "it comes piece by piece"
    assert with_choices[0].choices[0].delta.role == "assistant", with_choices[0]
    assert with_choices[-1].choices[0].finish_reason in ("stop", "length"), with_choices[-1]
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices, chunks[-1]
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    assert text == whole.choices[0].message.content, "streamed and whole say the same"


def completion():
    answer = client.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=4)
    assert answer.object == "text_completion" and answer.choices[0].text, answer
    assert answer.usage.completion_tokens <= 4, answer.usage


def completion_streamed():
    stream = client.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=4, stream=True)
    text = "".join(chunk.choices[0].text for chunk in stream if chunk.choices)
    whole = client.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=4)
    assert text == whole.choices[0].text and text, (text, whole)


def logprobs():
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=3, logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens, (content, answer.usage)
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2, token
        assert token.logprob >= token.top_logprobs[1].logprob, "at temperature 0 the likeliest is taken"


def stop():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, stop=["Paris"])
    assert "Paris" not in answer.choices[0].message.content and answer.choices[0].finish_reason == "stop", answer


def max_tokens():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=1)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 1, answer


def seed():
    def say(seed):
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1.5, max_tokens=12, seed=seed)
        return answer.choices[0].message.content

    first = say(7)
    assert first == say(7), "the same seed says the same"
    assert any(first != say(other) for other in (8, 9, 10)), "another seed says something else"


def choices():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=1.5, max_tokens=12, seed=7, n=2)
    first, second = (choice.message.content for choice in answer.choices)
    assert first != second and [choice.index for choice in answer.choices] == [0, 1], answer


def json_schema():
    properties = {"capital": {"type": "string", "maxLength": 20}, "is_certain": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    response_format = {"type": "json_schema", "json_schema": {"name": "capital", "strict": True, "schema": schema}}
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=60, response_format=response_format
    )
    content = json.loads(answer.choices[0].message.content)
    assert list(content) == ["capital", "is_certain"] and isinstance(content["is_certain"], bool), content


def refused(kind, status, word, act):
    try:
        act()
    except openai.APIStatusError as error:
        assert type(error) is kind and error.status_code == status, repr(error)
        assert word in error.message, error.message
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def errors():
    ask = client.chat.completions.create
    stranger = client.with_options(api_key="wrong")
    refused(openai.AuthenticationError, 401, "API key", lambda: stranger.chat.completions.create(model=MODEL, messages=QUESTION))
    refused(openai.NotFoundError, 404, "gpt-9", lambda: ask(model="gpt-9", messages=QUESTION))
    refused(openai.BadRequestError, 400, "temperature", lambda: ask(model=MODEL, messages=QUESTION, temperature=9))
    refused(openai.BadRequestError, 400, "messages", lambda: ask(model=MODEL, messages=[]))
    refused(openai.BadRequestError, 400, "gpt-9", lambda: ask(model=MODEL, messages=QUESTION, extra_body={"gpt-9": 1}))


for check in (
    models, chat, chat_streamed, completion, completion_streamed, logprobs, stop, max_tokens, seed, choices, json_schema, errors
):
    check()
    print(check.__name__)
