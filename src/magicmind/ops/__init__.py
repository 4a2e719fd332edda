"""The operators: importing this package fills the registry."""
