"""A topic of Kafka or Redpanda as a queue for `consumer.py`."""

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    TopicPartition,
)

# Offsets are in the model's file. An error if events were deleted unlearned.
OPTIONS = {
    "group.id": "gln",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
}


def topic(name, servers):
    """A topic, with all of its partitions."""

    def events(offsets):
        consumer = Consumer({"bootstrap.servers": servers, **OPTIONS})
        partitions = consumer.list_topics(name).topics[name].partitions
        starts = {p: offsets.get(p, OFFSET_BEGINNING) for p in partitions}
        consumer.assign(
            [TopicPartition(name, *start) for start in starts.items()]
        )
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            yield message.partition(), message.offset() + 1, message.value()

    return events
