"""Published systems as data, and models in and out of Hugging Face directories."""
