"""TensorFlow: frozen graphs, SavedModel folders and Keras files."""

from magicmind.frontends.tensorflow.reader import is_saved_model, read_tensorflow

__all__ = ["is_saved_model", "read_tensorflow"]
