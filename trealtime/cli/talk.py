"""``trealtime talk``: a conversation with an agent, by microphone and loudspeaker, by WAV files, or typed.

Exit status: 0 when the conversation has ended, Ctrl-C included, which is how one ends it; 1 when it was lost or never
came to be; 2 for wrong arguments, files that cannot be read or written, and a machine without sound.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trealtime.cli.options import add_speech_option

if TYPE_CHECKING:
    from trealtime.cli.talk_session import Talk

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "talk",
        help="talk to an agent",
        description="Talk to an agent, with the microphone and the loudspeaker of this machine, until Ctrl-C. "
        "With OPENAI_API_KEY it runs on OpenAI's service; without, on an emulator in this process.",
    )
    parser.add_argument(
        "agent", nargs="?", metavar="MODULE:AGENT", help="an agent of yours (default: one that knows the time)"
    )
    parser.add_argument("--instructions", help="in place of the agent's own")
    parser.add_argument("--voice", help="in place of the agent's own")
    parser.add_argument("--model", help="the model to talk to")
    parser.add_argument("--url", help="a Realtime server, such as that of `trealtime emulate`")
    parser.add_argument("--text", action="store_true", help="type your turns, a line each, and read the answers")
    parser.add_argument("--wav", type=Path, metavar="IN.wav", help="say what is in this file, then end")
    parser.add_argument(
        "--save",
        type=Path,
        metavar="OUT.wav",
        help="with --wav or --text: record both sides (left you, right the agent as it would have been heard)",
    )
    parser.add_argument("--list-devices", action="store_true", help="list microphones and loudspeakers, and end")
    parser.add_argument("--input-device", type=_device, metavar="DEVICE", help="a microphone, by number or name")
    parser.add_argument("--output-device", type=_device, metavar="DEVICE", help="a loudspeaker, by number or name")
    parser.add_argument("--no-echo-gate", action="store_true", help="with headphones, or where the system removes echo")
    add_speech_option(parser)
    parser.set_defaults(run=_run)


def _device(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _run(arguments: argparse.Namespace) -> int:
    if arguments.text and arguments.wav:
        return _refuse("--text and --wav are two ways to say something: choose one")
    if arguments.save and not (arguments.text or arguments.wav):
        return _refuse("--save records what --wav or --text say: choose one of them")

    if arguments.text and sys.stdin is None:
        return _refuse("--text reads standard input, and that is closed")

    from trealtime.cli.options import AgentNotFound
    from trealtime.errors import (
        AudioDeviceError,
        AudioFormatError,
        EndpointFailed,
        MissingDependency,
        SettingsError,
        TrealtimeError,
    )

    try:
        if arguments.list_devices:
            return _list_devices()
        talk = _prepare(arguments)
    except AgentNotFound as error:
        return _refuse(str(error))
    except (MissingDependency, AudioDeviceError) as error:
        return _refuse(f"{error}\n{_WITHOUT_SOUND}")
    except (AudioFormatError, SettingsError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}")

    import trio

    try:
        trio.run(talk.run)
    except AudioDeviceError as error:
        return _refuse(f"{error}\n{_WITHOUT_SOUND}")
    except MissingDependency as error:
        return _refuse(str(error))
    except EndpointFailed as error:
        print(f"trealtime talk: {error.__cause__ or error}", file=sys.stderr)
        return 1
    except TrealtimeError as error:
        print(f"trealtime talk: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


_WITHOUT_SOUND = "Without a microphone and a loudspeaker: --text types, --wav IN.wav [--save OUT.wav] says a file."


def _refuse(why: str) -> int:
    print(f"trealtime talk: {why}", file=sys.stderr)
    return 2


def _list_devices() -> int:
    from trealtime.endpoints.audio_device import list_devices

    devices = list_devices()
    if not devices:
        print(f"No sound devices. {_WITHOUT_SOUND}")
    for device in devices:
        print(device)
    return 0


def _prepare(arguments: argparse.Namespace) -> Talk:
    """Everything that can be wrong with the arguments is found here, before a connection is made."""
    from trealtime.cli.options import load_agent
    from trealtime.cli.talk_session import Screen, Talk, built_in_agent
    from trealtime.endpoints.audio_device import check_devices
    from trealtime.endpoints.console import ConsoleEndpoint
    from trealtime.endpoints.wav import WavEndpoint

    agent = built_in_agent() if arguments.agent is None else load_agent(arguments.agent)
    if arguments.instructions is not None:
        agent = agent.clone(instructions=arguments.instructions)
    if arguments.voice is not None:
        agent = agent.clone(voice=arguments.voice)

    endpoint: ConsoleEndpoint | WavEndpoint | None = None
    speech_s = 0.0
    if arguments.wav or arguments.save:
        if arguments.wav:
            speech_s = _duration_s(arguments.wav)
        if arguments.save:
            arguments.save.open("ab").close()
        endpoint = WavEndpoint(arguments.wav, arguments.save)
    elif not arguments.text:
        check_devices()
        endpoint = ConsoleEndpoint(
            arguments.input_device, arguments.output_device, echo_gate=not arguments.no_echo_gate
        )
    return Talk(
        agent=agent,
        endpoint=endpoint,
        screen=Screen(sys.stdout, live=sys.stdout.isatty() and not arguments.text),
        typed=arguments.text,
        speech_s=speech_s if arguments.wav else None,
        speech=arguments.speech,
        url=arguments.url,
        model_name=arguments.model,
        has_key=bool(os.environ.get("OPENAI_API_KEY")),
        may_ask=sys.stdin is not None and (arguments.text or sys.stdin.isatty()),
    )


def _duration_s(path: Path) -> float:
    from trealtime.audio.wav import read_wav

    samples, rate = read_wav(path)
    return len(samples) / rate
