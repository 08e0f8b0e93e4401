"""The `openai` package's synchronous realtime client: a function call and its answer.

Run by the conformance tests in an environment of its own; prints one JSON object.
"""

import json
import sys

from openai import OpenAI

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def main(base_url: str) -> None:
    seen = {}
    client = OpenAI(api_key="any", websocket_base_url=base_url)
    with client.realtime.connect(model="gpt-realtime") as connection:
        seen["first"] = connection.recv().type
        connection.session.update(session={"type": "realtime", "tools": [WEATHER], "output_modalities": ["text"]})
        seen["tools"] = [tool.name for tool in connection.recv().session.tools]

        words = [{"type": "input_text", "text": "What is the weather in Paris?"}]
        connection.conversation.item.create(item={"type": "message", "role": "user", "content": words})
        connection.response.create()
        call_id = ""
        for event in connection:
            if event.type == "response.function_call_arguments.done":
                call_id, seen["arguments"] = event.call_id, json.loads(event.arguments)
            elif event.type == "response.done":
                break

        output = {"type": "function_call_output", "call_id": call_id, "output": "sunny"}
        connection.conversation.item.create(item=output)
        connection.response.create()
        seen["text"] = ""
        for event in connection:
            if event.type == "response.output_text.delta":
                seen["text"] += event.delta
            elif event.type == "response.done":
                seen["status"] = event.response.status
                break
    print(json.dumps(seen))


main(sys.argv[1])
