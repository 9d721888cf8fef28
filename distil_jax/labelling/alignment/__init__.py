"""When each token and word was said, by a model's attention to the encoder."""
