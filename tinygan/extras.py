"""Packages that not every installation has, each loaded when it is used. This file knows none of
them by name.
"""

import importlib


def package(name, install):
    """The package of that name; ModuleNotFoundError, one line, that says how to `install` it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModuleNotFoundError(
            f'{name} cannot be imported ({error}): pip install "{install}"', name=name
        ) from error
