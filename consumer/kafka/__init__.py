"""aiokafka adapters: they translate between the ports and a Kafka cluster, and decide nothing."""
