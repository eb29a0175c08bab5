"""From text to token ids and back: vocabulary, preprocessing, answer spans."""
