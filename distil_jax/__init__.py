"""Distillation of speech models in JAX: label, filter, train, evaluate, export."""

__version__ = "0.1.0"
