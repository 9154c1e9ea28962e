"""The scripts, by what they exercise."""

from tests.differential.mysql.scripts.diagnostics import DIAGNOSTICS
from tests.differential.mysql.scripts.prepared import PREPARED
from tests.differential.mysql.scripts.schemaless import SCHEMALESS
from tests.differential.mysql.scripts.settings import SETTINGS
from tests.differential.mysql.scripts.stateful import STATEFUL
from tests.differential.mysql.scripts.text import TEXT

SCRIPTS = (*TEXT, *PREPARED, *SETTINGS, *DIAGNOSTICS, *STATEFUL, *SCHEMALESS)
