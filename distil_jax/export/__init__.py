"""The way out: folders that other people's tools load. See formats.py and model_card.py."""
