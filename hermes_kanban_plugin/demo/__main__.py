"""``python -m hermes_kanban_plugin.demo``: run the demo; ends by itself in under a minute."""

import sys

from hermes_kanban_plugin.demo.show import main

if __name__ == "__main__":
    sys.exit(main())
