"""Training of the translation net: sentence pairs -> tokens -> batches -> steps -> a folder for CTranslate2."""
