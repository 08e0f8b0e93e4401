"""An MCP server of an older protocol, written out by hand: quick to start, with faults on demand.

The words of its command line: ``slow`` never answers, ``stubborn`` neither ends with its input nor
when it is asked to, ``child`` leaves a process behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

words = sys.argv[1:]
tools = ["whoami", "learn", "hang", "die", "garbage"]
given_up = 0


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "initialize":
            info = {"name": "old", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list" if "mute" in words and "fly" in tools:
            return None
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]}
        case "tools/call":
            return call(params["name"], params.get("arguments", {}))
    return None


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
    text = "done"
    match name:
        case "whoami":
            text = f"{os.getpid()} {given_up}" if arguments else str(os.getpid())
        case "learn":
            tools.append(arguments["name"])
            send({"method": "notifications/tools/list_changed"})
        case "hang":
            return None
        case "die" if arguments:
            print("x" * 5000, end="", flush=True)
            time.sleep(600)
        case "die":
            os._exit(3)
        case "garbage":
            print("this is no message", flush=True)
    return {"content": [{"type": "text", "text": text}], "isError": False}


if "stubborn" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in words:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "left behind"], stdin=subprocess.DEVNULL)
if "slow" in words:
    time.sleep(600)
for line in sys.stdin:
    request = json.loads(line)
    result = answer(request.get("method", ""), request.get("params", {}))
    given_up += request.get("method") == "notifications/cancelled"
    if "id" not in request:
        continue
    if result is not None:
        send({"id": request["id"], "result": result})
    elif request["method"] != "tools/call":
        send({"id": request["id"], "error": {"code": -32601, "message": "there is no such method"}})
if "stubborn" in words:
    time.sleep(600)
