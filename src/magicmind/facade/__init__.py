"""The classes of the MagicMind-compatible Python API: a thin layer over our own, without numeric code.

`magicmind.python` gives them the import paths that programs use. Importing them needs numpy alone, and so does running
a model; what parses and builds is imported when it is first called. What maps to what: docs/guide/from-magicmind.md.
"""
