import sys

from tests.examples.example_helpers import EXAMPLES

sys.path.insert(0, str(EXAMPLES / "brief"))  # as loopkit does for the folder of an agents.yaml
