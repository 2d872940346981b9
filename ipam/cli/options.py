"""Options of commands: a flag for each setting that a command uses."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from ipam.settings import ENVIRONMENT_PREFIX, Settings
from ipam.util.printable import LineFormatter

# Settings that commands have in common.
CONSUL = ("consul", "consul_token", "consul_token_file", "consul_dc", "consul_ca", "consul_cert", "consul_key")
DATABASE = ("mongo", "mongo_file", "database", *CONSUL, "consul_mongo", "consul_mongo_file")
BROKER = ("broker", "broker_file", *CONSUL, "consul_broker", "consul_broker_file")
BUS = ("bus", "bus_file", "consul_bus", "consul_bus_file")
Command = Callable[..., None]


def with_settings(*names: str, **defaults: str) -> Callable[[Command], Command]:
    """Give a command a flag for each setting it uses, and the settings as its first argument.

    *defaults* are what to say of what is done without a flag, where that is not the setting's own default.
    """

    def decorate(command: Command) -> Command:
        def command_with_settings(**flags: Any) -> None:
            own = {name: flags.pop(name) for name in list(flags) if name in Settings.model_fields}
            settings = Settings.read(own, os.environ)
            _log_to_stderr(settings.log_level)
            command(settings, **flags)

        command_with_settings.__doc__ = command.__doc__
        command_with_settings.__name__ = command.__name__
        decorated: Command = command_with_settings
        for name in reversed(dict.fromkeys((*names, "log_level"))):
            field = Settings.model_fields[name]
            default = defaults.get(name, "none" if field.default is None else field.default)
            is_flag = field.annotation is bool
            decorated = click.option(
                f"--{name.replace('_', '-')}",
                name,
                metavar=None if is_flag else "VALUE",
                is_flag=is_flag,
                default=None,
                help=f"{field.description}  [{ENVIRONMENT_PREFIX}{name.upper()}; default: {default}]",
            )(decorated)
        return decorated

    return decorate


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
