"""Upgrade, downgrade and upgrade again on a copy: the same as `migrator drill`, from a checkout.

python scripts/rollback_drill.py --url sqlite:///blog.db
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from migrator.cli import main

if __name__ == "__main__":
    main(["drill", *sys.argv[1:]], prog_name="migrator")
