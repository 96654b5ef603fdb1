"""``AsyncOpenAI`` and ``OpenAI`` whose calls go through Kafka topics."""
