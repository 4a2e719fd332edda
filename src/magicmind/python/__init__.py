"""The import paths of the MagicMind-compatible API; the classes are those of `magicmind.facade`."""
