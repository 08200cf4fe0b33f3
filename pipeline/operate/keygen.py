"""The `keygen` command: key pairs for ZeroMQ over TCP. Works on files; no process is asked."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.allow_list import NAMES_OWNERS, PRODUCE, READ, STAGE


@click.command()
@click.argument("path", metavar="NAME", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--for",
    "role",
    type=click.Choice([PRODUCE, READ, STAGE]),
    default=PRODUCE,
    show_default=True,
    help="What its holder may do: send events; read frames and history, as tail does; or everything, as the "
    "stages, up, doctor and top need.",
)
@click.option(
    "--names-owners",
    is_flag=True,
    help="With --for produce: its scans may have other owners than NAME, and it may feed theirs.",
)
@click.option("--force", is_flag=True, help="Replace files that are there; who has the old key is shut out.")
def keygen(path: Path, role: str, names_owners: bool, force: bool) -> None:
    """Make a key pair: NAME.key, which only its owner can read, and NAME.pub. Prints the public key.

    NAME.key stays where it is used, as key_file or --key-file. NAME.pub goes into the allowed_dir of the
    processes it may connect to; its name without .pub is the peer's name, and the owner of its scans. A
    second public key in the same file, on a line of its own, is allowed as well: so a key is changed without
    a gap.

    The public key of who binds a socket goes into the address book, under [server_keys].

    \b
    Examples:
      pipeline keygen --for stage keys/pipeline
      pipeline keygen scanner-1
      pipeline keygen --for read ada
      cp scanner-1.pub ada.pub keys/pipeline.pub /etc/scanstream/allowed/
      pipeline emit --endpoints endpoints.toml --key-file scanner-1.key --scan office scan.xml
    """
    from pipeline.key_files import new_pair, write_pair

    if names_owners and role != PRODUCE:
        raise click.UsageError("--names-owners goes with --for produce; a stage names owners in any case")
    pair = new_pair()
    write_pair(path, pair, (role, NAMES_OWNERS) if names_owners else (role,), force=force)
    click.echo(pair.public)
