"""Which labels to train on: scores of every label, and filters that decide by them.

filter:
  max_error_rate: null
  scores: [{name: proxy, weights: openai/whisper-medium}]
  filters:
    - {score: compression, threshold: 2.4}
    - {rank: [proxy, confidence, speech_rate], keep_fraction: 0.8}
"""

from distil_jax.labelling.filters.charts import draw_histogram, write_histogram
from distil_jax.labelling.filters.labels import KEPT, SCHEMA, columns, filter_labels
from distil_jax.labelling.filters.settings import Filter, FilterConfig, Match

__all__ = [
    "KEPT",
    "SCHEMA",
    "Filter",
    "FilterConfig",
    "Match",
    "columns",
    "draw_histogram",
    "filter_labels",
    "write_histogram",
]
