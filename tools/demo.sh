#!/bin/sh
# The main example on a real document of this repository, with live progress. `make demo` calls it;
# DOCUMENT=FILE and LIMIT=WORDS set another document and length.
set -eu
document=$(realpath "${DOCUMENT:-$(dirname "$0")/../docs/explanation/why.md}")
cd "$(dirname "$0")/../examples/brief"
PATH=$(cd ../../.venv/bin && pwd):$PATH
export PATH
unset LOOPKIT_DATABASE_URL LOOPKIT_CONFIG LOOPKIT_HEARTBEAT LOOPKIT_STALLED_AFTER

status=0
loopkit-cli run brief --input document=@"$document" --input limit="${LIMIT:-120}" || status=$?

printf '\nThe scores, read from examples/brief/loopkit.db by plain SQL:\n\n'
python - <<'PYTHON'
import sqlite3

attempts = """
    SELECT attempt, json_extract(content, '$.score'), json_extract(content, '$.criteria.coverage.score'),
        json_extract(content, '$.criteria.length.score'), json_extract(content, '$.criteria.variety.score'),
        json_extract(content, '$.feedback')
    FROM workflow_artifacts WHERE artifact_type = 'evaluation' AND run_id = (SELECT max(id) FROM workflow_runs)
    ORDER BY attempt
"""
print("  attempt   score = coverage x length x variety   feedback")
with sqlite3.connect("loopkit.db") as database:
    for attempt, score, coverage, length, variety, feedback in database.execute(attempts):
        print(f"  {attempt:<9} {score:.2f}    {coverage:<8.2f}   {length:<6.2f}   {variety:<7.2f}   {feedback}")
PYTHON

cat <<'NEXT'

Try next, in examples/brief (and with .venv/bin on your PATH, for example by: . .venv/bin/activate)

  loopkit-cli list                                    the runs so far
  loopkit-cli run brief --input document=@FILE --input limit=80
  loopkit-cli serve --worker                          the dashboard, at http://127.0.0.1:8700/
  cd ../code_repair && loopkit-cli run code_repair    real tools as stages
NEXT
exit "$status"
