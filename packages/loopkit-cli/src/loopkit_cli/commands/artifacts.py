"""The command ``artifacts``: the outputs and evaluations of a run."""

from functools import partial
from typing import TYPE_CHECKING

import click

from loopkit.core.journal import Artifact
from loopkit_cli import display_text, output
from loopkit_cli.artifact_files import save
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.run_ids import find_run, run_argument
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command(
    "artifacts",
    examples="""
        loopkit-cli artifacts last
        loopkit-cli artifacts run_06anf0q3n1dbr2wk3gvsm9t8xe --save brief
    """,
)
@run_argument
@click.option("--save", "folder", metavar="DIR", help="Write each artifact to a file in DIR; nothing is overwritten.")
@pass_settings
def artifacts(settings: Settings, run_id: str, folder: str | None) -> None:
    """List the artifacts of a run, or save them to files.

    RUN is an id, the unique beginning of one, or last.
    """
    from loopkit import wire

    artifacts = settings.in_store_for_reads(partial(_read, run_id))
    saved = [] if folder is None else save(artifacts, folder)
    if settings.as_json:
        output.write_json({"artifacts": [wire.artifact(artifact) for artifact in artifacts]})
    elif folder is None:
        output.write_table(("ATTEMPT", "WHAT", "FILE", "SIZE", "CREATED"), map(_artifact_row, artifacts))
    else:
        for path in saved:
            output.write_line(path)


async def _read(run_id: str, store: "Storage") -> list[Artifact]:
    return await store.list_artifacts((await find_run(store, run_id)).id)


def _artifact_row(artifact: Artifact) -> tuple[str, ...]:
    size = f"{len(artifact.content.encode())} B"
    kind = artifact.artifact_type.value
    return str(artifact.attempt), kind, artifact.filename, size, display_text.moment(artifact.created_at)
