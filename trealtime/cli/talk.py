"""``trealtime talk``: a conversation with an agent, by microphone and loudspeaker, by WAV files, or typed.

Exit status: 0 when the user has ended the conversation (Ctrl-C, the end of the file or of the typed lines); 1 when the
server or the network ended it, when it never began, and when a file got no answer; 2 for wrong arguments, files that
cannot be read or written, and a machine without sound.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trealtime.cli.options import add_speech_option, number
from trealtime.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trealtime.cli.talk_session import Talk
    from trealtime.endpoints.audio_device import AudioDevice

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
        "agent",
        nargs="?",
        metavar="MODULE:AGENT",
        help="an agent of yours, such as my_app:agent or my_app.py:agent (default: one that knows the time)",
    )
    parser.add_argument("--instructions", help="in place of the agent's own")
    parser.add_argument("--voice", help="in place of the agent's own")
    parser.add_argument("--model", help="the model to talk to")
    parser.add_argument("--url", help="a Realtime server, such as that of `trealtime emulate`")
    parser.add_argument("--text", action="store_true", help="type your turns, a line each, and read the answers")
    parser.add_argument("--wav", type=Path, metavar="IN.wav", help="say what is in this file, hear the answer, and end")
    parser.add_argument(
        "--channel",
        type=number(int, least=0, what="the number of a channel, 0 for the left one"),
        help="with --wav: say one channel of the file, 0 for the left one (default: their mean)",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="OUT.wav",
        help="write both sides into a stereo file: left you, right the agent as it was heard",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="OUT.jsonl.gz",
        help="record the session: `trealtime timeline` draws it, `trealtime replay` serves it again",
    )
    parser.add_argument(
        "--reload", action="store_true", help="begin anew when the files of the agent change, for work on it"
    )
    parser.add_argument("--list-devices", action="store_true", help="list microphones and loudspeakers, and end")
    parser.add_argument("--input-device", type=_device, metavar="DEVICE", help="a microphone, by number or name")
    parser.add_argument("--output-device", type=_device, metavar="DEVICE", help="a loudspeaker, by number or name")
    parser.add_argument(
        "--rate",
        type=number(int, least=8_000, most=192_000, what="a rate from 8000 to 192000 samples per second"),
        help="samples per second of both devices (default: the first usual one that they accept, 48000 before others)",
    )
    rate = number(int, least=8_000, most=192_000, what="a rate from 8000 to 192000 samples per second")
    parser.add_argument(
        "--input-rate",
        type=rate,
        metavar="RATE",
        help="of the microphone alone, where it has another rate than the loudspeaker",
    )
    parser.add_argument("--output-rate", type=rate, metavar="RATE", help="of the loudspeaker alone")
    parser.add_argument("--no-echo-gate", action="store_true", help="with headphones, or where the system removes echo")
    add_speech_option(parser)
    parser.set_defaults(run=_run, quiet_ctrl_c=True)


def _device(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _run(arguments: argparse.Namespace) -> int:
    if arguments.text and arguments.wav:
        return _refuse("--text and --wav are two ways to say something: choose one")
    if arguments.reload and arguments.agent is None:
        return _refuse("--reload watches the files of an agent of yours: name it")
    if arguments.channel is not None and not arguments.wav:
        return _refuse("--channel is one of the file that --wav says")
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
    except (AudioFormatError, SettingsError, _WouldOverwrite) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}")

    import trio

    # The line for a microphone, loudspeaker or file that fails is printed below; others keep their traceback.
    logging.getLogger("trealtime.endpoints").addHandler(logging.NullHandler())
    try:
        ended_well = trio.run(talk.run)
        if talk.reloads:
            sys.stdout.flush()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  (the command that runs now)
        return 0 if ended_well else 1
    except AudioDeviceError as error:
        return _refuse(f"{error}\n{_WITHOUT_SOUND}")
    except MissingDependency as error:
        return _refuse(str(error))
    except EndpointFailed as error:
        return _fail(str(error.__cause__ or error))
    except TrealtimeError as error:
        return _fail(f"{type(error).__name__}: {error}")


_WITHOUT_SOUND = "Without a microphone and a loudspeaker: --text types, --wav IN.wav [--save OUT.wav] says a file."


class _WouldOverwrite(Exception):
    """``--save`` names the file that ``--wav`` says."""


def _refuse(why: str) -> int:
    print(f"trealtime talk: {printable(why, newlines=True)}", file=sys.stderr)
    return 2


def _fail(why: str) -> int:
    print(f"trealtime talk: {printable(why)}", file=sys.stderr)
    return 1


def _list_devices() -> int:
    from trealtime.endpoints.audio_device import list_devices

    devices = list_devices()
    if not devices:
        print(f"No sound devices. {_WITHOUT_SOUND}")
    for device in devices:
        print(device)
    return 0


def _check_recording(path: Path) -> None:
    """Raise `OSError` where the recorder could not make the file. One that is there stays, and is numbered around."""
    if path.exists():
        if not path.is_file():
            raise OSError(errno.EINVAL, "is no file, so nothing can be recorded there", str(path))
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        path.unlink()


def _prepare(arguments: argparse.Namespace) -> Talk:
    """Make the conversation, and find wrong arguments before there is a connection."""
    from trealtime.cli.options import load_agent
    from trealtime.cli.saving_device import SavingDevice
    from trealtime.cli.talk_screen import Screen, shows_colours
    from trealtime.cli.talk_session import Talk, built_in_agent
    from trealtime.endpoints.audio_device import SoundCard, check_devices
    from trealtime.endpoints.console import ConsoleEndpoint
    from trealtime.endpoints.wav import WavEndpoint

    there_already = set(sys.modules)
    agent = built_in_agent() if arguments.agent is None else load_agent(arguments.agent)
    watched = _files_of(set(sys.modules) - there_already) if arguments.reload else ()
    if arguments.instructions is not None:
        agent = agent.clone(instructions=arguments.instructions)
    if arguments.voice is not None:
        agent = agent.clone(voice=arguments.voice)

    endpoint: ConsoleEndpoint | WavEndpoint | None = None
    if arguments.save:
        os.close(os.open(arguments.save, os.O_WRONLY | os.O_CREAT, 0o600))
    if arguments.record:
        _check_recording(arguments.record)
    if arguments.wav or (arguments.text and arguments.save):
        if arguments.wav and arguments.save and arguments.save.exists() and arguments.save.samefile(arguments.wav):
            raise _WouldOverwrite(f"--save {arguments.save} would overwrite the question, --wav {arguments.wav}")
        endpoint = WavEndpoint(arguments.wav, arguments.save, channel=arguments.channel)
    elif not arguments.text:
        _silence_libraries()
        check_devices()
        device: AudioDevice = SoundCard(
            arguments.input_device,
            arguments.output_device,
            rate=arguments.rate,
            input_rate=arguments.input_rate,
            output_rate=arguments.output_rate,
        )
        if arguments.save:
            device = SavingDevice(device, arguments.save)
        endpoint = ConsoleEndpoint(device=device, echo_gate=not arguments.no_echo_gate)
    return Talk(
        agent=agent,
        endpoint=endpoint,
        screen=Screen(
            sys.stdout,
            live=sys.stdout.isatty() and not arguments.text,
            colours=shows_colours(sys.stdout, os.environ),
        ),
        typed=arguments.text,
        says=arguments.wav,
        speech=arguments.speech,
        url=arguments.url,
        model_name=arguments.model,
        has_key=bool(os.environ.get("OPENAI_API_KEY")),
        may_ask=sys.stdin is not None and (arguments.text or sys.stdin.isatty()),
        interactive=sys.stdin is not None and sys.stdin.isatty(),
        record=arguments.record,
        watched=watched,
    )


def _silence_libraries() -> None:
    """Keep what ALSA and JACK write to stderr off the terminal; what Python writes there is shown."""
    stderr = sys.__stderr__
    if stderr is None or sys.stderr is not stderr or not stderr.isatty():
        return
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def _files_of(modules: Iterable[str]) -> tuple[Path, ...]:
    """The files of these modules, but for those of installed packages."""
    named = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
    files = [Path(file) for file in named if file is not None]
    return tuple(file for file in files if not {"site-packages", "dist-packages"} & set(file.parts))
