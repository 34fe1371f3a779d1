"""Writes docs/audit-json.md from the types of src/linnaeus/analysis/audit_types.py and their docstrings.

    python docs/make_audit.py

The committed page must be what this writes; tests/test_docs.py compares the two.
"""

from __future__ import annotations

from pathlib import Path

from field_tables import Words, link, tables_of

from linnaeus.analysis.audit_types import Audit

PAGE = Path(__file__).with_name("audit-json.md")
_INTRODUCTION = """# audit.json

<!-- Written by docs/make_audit.py from the docstrings of analysis/audit_types.py. Change those, not this. -->

The results of `linnaeus inspect` in machine-readable form; `audit.html` in the same folder shows them to people. UTF-8
JSON with finite numbers only: never `NaN`, never `Infinity`. Within one `format`, fields are neither removed nor given
another meaning; new ones may be added. Lists are complete, however long.

```json
{
  "format": 1,
  "source": "photos/",
  "num_images": 1250,
  "task": "single",
  "classes": ["cat", "dog"],
  "counts": {"train": {"cat": 500, "dog": 490}, "test": {"cat": 130, "dog": 130}},
  "leaks": {"num_groups": 1, "test": {"num_images": 1, "fraction": 0.003846},
            "validation": {"num_images": 0, "fraction": 0.0}, "test_rows": [1003]},
  "duplicates": [
    {"kind": "near", "leak": true, "labels_differ": false, "splits": ["train", "test"],
     "members": [{"row": 12, "id": "train/cat/12.jpg", "split": "train", "labels": ["cat"], "relation": "first"},
                 {"row": 1003, "id": "test/cat/3.jpg", "split": "test", "labels": ["cat"], "relation": "mirrored"}]}
  ],
  "findings": [{"level": "serious", "what": "Leaks into the test set", "sentence": "1 test image ...",
                "section": "duplicates"}]
}
```

(The numbers are only an example, and most fields are omitted.)

The headings below are the names of Python types, in `linnaeus.analysis.audit_types`; the file is an [Audit](#audit)."""


def audit_page() -> str:
    """The whole page as Markdown."""
    return "\n\n".join([_INTRODUCTION, *tables_of(Audit, Words(section=link, nothing="null"))]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(audit_page(), encoding="utf-8")
    print(f"{PAGE} written")
