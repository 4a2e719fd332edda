"""Program `magicmind`: finds the command, runs it, turns what happened into an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted. Results go to stdout, everything else to stderr. Importing a
command's module is cheap: what it needs for its work it imports when it runs, so that `run` and `info` need numpy only.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from magicmind import knobs
from magicmind.cli import build, calibrate, compare, demo, info, parse, remote_server, run, zoo
from magicmind.errors import Error
from magicmind.plugin import load_plugins

COMMANDS = (parse, calibrate, build, run, info, compare, demo, zoo, remote_server)

FAILED = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: the process's) and returns the exit code. Usage errors raise SystemExit(2)."""
    arguments = parser().parse_args(argv)
    try:
        set_up_logging()
        load_plugins(getattr(arguments, "plugin_path", None) or ())
        arguments.execute(arguments)
        sys.stdout.flush()
    except Error as error:
        print(f"magicmind {arguments.command}: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to report, and the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"magicmind {arguments.command}: {where}{error.strerror or error}", file=sys.stderr)
        return FAILED
    except MemoryError as error:
        print(f"magicmind {arguments.command}: {f'not enough memory: {error}'.removesuffix(': ')}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"magicmind {arguments.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="magicmind",
        description="Compiles trained networks to native code in one offline file, and runs that file.",
        epilog="A command's own help: magicmind COMMAND --help",
    )
    top.add_argument("--version", action="version", version=f"magicmind {package_version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    return top


def package_version() -> str:
    """The installed version; `unknown` when run from a folder that was never installed."""
    try:
        return version("magicmind")
    except PackageNotFoundError:
        return "unknown"


def set_up_logging() -> None:
    """Log lines go to stderr at the level that MAGICMIND_LOG names. Raises Error for an unknown level."""
    name = knobs.LOG.text()
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise Error(f"{knobs.LOG.name}={name!r} is not a log level", hint=f"{knobs.LOG.name}: {knobs.LOG.meaning}")
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname).1s %(name)s: %(message)s")
