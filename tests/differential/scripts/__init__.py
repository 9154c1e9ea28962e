"""The scripts, by what they exercise."""

from tests.differential.scripts.extended import EXTENDED
from tests.differential.scripts.simple import SIMPLE
from tests.differential.scripts.stateful import STATEFUL
from tests.differential.scripts.streams import STREAMS

SCRIPTS = (*SIMPLE, *EXTENDED, *STREAMS, *STATEFUL)
