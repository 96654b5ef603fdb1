"""Results that go to the topics that their requests name."""
