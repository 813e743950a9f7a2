"""The command ``verify``: check the invariants of the database."""

from loopkit_cli import exits, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings


@command("verify", examples="loopkit-cli verify --database postgresql://loopkit@db.example/loopkit")
@pass_settings
def verify(settings: Settings) -> int:
    """Check the invariants of the database.

    One line for each violation; the exit status is 1 when there is one. A SQLite file that does not exist is an error,
    and is not created.
    """
    settings.check_database_exists()
    violations = settings.in_store_for_reads(lambda store: store.check())
    if settings.as_json:
        documents = [{"rule": each.rule, "runId": each.run_id, "detail": each.detail} for each in violations]
        output.write_json({"violations": documents})
    else:
        for violation in violations:
            output.write_line(f"{violation.rule}  {violation.run_id or '-'}  {violation.detail}")
        output.note(f"violations: {len(violations)}")
    return exits.REFUSED if violations else exits.DONE
