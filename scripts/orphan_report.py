"""Count and list orphans: the same as `migrator report`, from a checkout.

python scripts/orphan_report.py --url sqlite:///blog.db
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from migrator.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]], prog_name="migrator")
