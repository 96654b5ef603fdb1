from serve_models.text.models.devices import bound_tokenizer_threads


def test_tokenizers_take_the_replicas_threads_unless_the_operator_says_how_many() -> None:
    environment: dict[str, str] = {}
    bound_tokenizer_threads(2, environment)
    assert environment == {"RAYON_NUM_THREADS": "2"}
    bound_tokenizer_threads(4, environment)
    assert environment == {"RAYON_NUM_THREADS": "2"}
