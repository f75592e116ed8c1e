"""The commands: thin, one file each; :mod:`proxy.cli.commands` lists them."""
