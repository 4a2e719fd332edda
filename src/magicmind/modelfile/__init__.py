"""The offline model file: its layout, reader and writer."""
