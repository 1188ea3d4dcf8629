"""Entry of the supervisor process: ``python -I -S …/supervisor/__main__.py``, its order as JSON on standard input.

Isolated mode keeps the environment and the working folder of the worker out of the import path, so the package's
parent folder is added here, last, where nothing in it can shadow the standard library.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from hermes_kanban_plugin.supervisor.shim import main

sys.exit(main())
