"""Models with a sparse vector, or many vectors, for a text: the models, answers and scores."""
