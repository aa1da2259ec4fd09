"""The blog that was audited: its corrected models, the tables as they were found, and demo data for them.

`models` is what the blog should be, `legacy` what the audit met, `seed` a legacy blog of any size, and
`dataset` a loader for real tables kept as CSV files beside a `dataset.json`.
"""
