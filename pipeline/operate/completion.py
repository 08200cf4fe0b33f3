"""The `completion` command: what makes a shell complete this program's commands and options.

Click has the scripts; a shell runs them once, and they run this program for each completion.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "pipeline"
VARIABLE = "_PIPELINE_COMPLETE"
"""The variable by which a script asks for completions; click derives it from the program's name."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete the commands and options of `pipeline`.

    For bash (4.4 or later) put the first line below into ~/.bashrc, for zsh the second into ~/.zshrc, behind
    compinit; for fish redirect into ~/.config/fish/completions/pipeline.fish.

    \b
    Examples:
      eval "$(pipeline completion bash)"
      eval "$(pipeline completion zsh)"
      pipeline completion fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, PROGRAM, VARIABLE).source())
