"""Send work to Headrace through Kafka, and read the results."""
