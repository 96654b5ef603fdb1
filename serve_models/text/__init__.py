"""Embedders, classifiers and rerankers: one engine over batches of texts."""
