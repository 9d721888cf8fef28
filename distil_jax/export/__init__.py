"""The way out: a folder that other people's tools load. See hugging_face.py and model_card.py."""
