"""The broker's rules, with time moved by hand."""

from __future__ import annotations

import pytest

from atom_emulator.pubsub.broker import DELETED_TOPIC
from atom_emulator.pubsub.filters import compile_filter
from atom_emulator.pubsub.messages import DeadLetters, RedeliveryBackoff, SubscriptionSettings
from atom_emulator.pubsub.refusals import Code, RefusalError
from support.work import lines_run
from unit.emulator.pubsub.builders import DEAD, DEAD_SUBSCRIPTION, SUBSCRIPTION, TOPIC, scene


def test_a_published_message_is_delivered_with_all_it_carries() -> None:
    """A delivery carries the data, attributes, id and time of the publish."""
    s = scene()
    message_id = s.publish(b"hello", kind="greeting")
    delivery = s.take()
    assert (delivery.message.data, delivery.message.attributes) == (b"hello", {"kind": "greeting"})
    assert (delivery.message.id, delivery.message.publish_time, delivery.attempt) == (message_id, s.now, 1)


def test_messages_come_in_the_order_they_were_published() -> None:
    """Without failures the order of publishing is the order of delivery."""
    s = scene()
    ids = [s.publish() for _ in range(5)]
    assert [delivery.message.id for delivery in s.lease(10)] == ids


def test_each_subscription_gets_its_own_copy() -> None:
    """Acknowledging on one subscription changes nothing on another."""
    s = scene()
    s.broker.create_subscription("other", TOPIC, SubscriptionSettings())
    s.publish()
    assert s.ack(s.take())
    assert len(s.lease(subscription="other")) == 1


def test_what_was_published_before_a_subscription_is_not_in_it() -> None:
    """A subscription gets what is published after it was made."""
    s = scene()
    s.publish()
    s.broker.create_subscription("late", TOPIC, SubscriptionSettings())
    assert s.lease(subscription="late") == []


def test_an_acknowledged_message_never_returns() -> None:
    """After an acknowledgement nothing is due and nothing is left."""
    s = scene()
    s.publish()
    assert s.ack(s.take())
    assert (s.left, s.broker.next_due(), s.lease()) == (0, None, [])


def test_a_lease_is_exclusive() -> None:
    """A message on lease is not delivered again while the lease holds."""
    s = scene()
    s.publish()
    s.take()
    s.now += 9.9
    assert s.lease() == []


def test_a_missed_deadline_redelivers() -> None:
    """A missed ack deadline counts as a failed delivery."""
    s = scene()
    s.publish()
    first = s.take()
    assert s.gap_s() == 10
    second = s.take()
    assert (second.message.id, second.attempt) == (first.message.id, 2)
    assert (s.tally.expired, s.tally.nacked) == (1, 1)


def test_an_acknowledgement_after_the_deadline_is_ignored() -> None:
    """An ack id is good for its own lease only."""
    s = scene()
    s.publish()
    first = s.take()
    s.gap_s()
    second = s.take()
    assert not s.ack(first)
    assert s.ack(second)


def test_an_ack_id_never_fits_a_subscription_made_again() -> None:
    """A subscription made again refuses acknowledgements of the deleted one."""
    s = scene()
    s.publish()
    old = s.take()
    s.broker.delete_subscription(SUBSCRIPTION)
    s.broker.create_subscription(SUBSCRIPTION, TOPIC, SubscriptionSettings())
    s.publish()
    s.take()
    assert not s.ack(old)


def test_a_deadline_can_be_moved() -> None:
    """A modified deadline counts from now, and replaces the old one."""
    s = scene()
    s.publish()
    delivery = s.take()
    s.now += 5
    s.broker.modify_ack_deadline(SUBSCRIPTION, [delivery.ack_id], 60, s.now)
    assert s.gap_s() == 60
    assert s.take().attempt == 2


def test_a_deadline_of_zero_is_a_nack() -> None:
    """Modifying the deadline to 0 makes the message ready at once."""
    s = scene()
    s.publish()
    s.broker.modify_ack_deadline(SUBSCRIPTION, [s.take().ack_id], 0, s.now)
    assert s.take().attempt == 2


def test_without_a_policy_a_nack_redelivers_at_once() -> None:
    """No retry policy means no back-off."""
    s = scene()
    s.publish()
    s.nack(s.take())
    assert s.take().attempt == 2


def test_back_off_doubles_up_to_its_maximum() -> None:
    """Each further failure doubles the wait, from the minimum to the maximum."""
    s = scene(SubscriptionSettings(backoff=RedeliveryBackoff(minimum_s=10, maximum_s=60)))
    s.publish()
    gaps = []
    for _ in range(5):
        s.nack(s.take())
        assert s.lease() == []
        gaps.append(s.gap_s())
    assert gaps == [10, 20, 40, 60, 60]


def test_back_off_survives_any_number_of_failures() -> None:
    """The wait after a thousand failures is the maximum."""
    assert RedeliveryBackoff(minimum_s=0.1, maximum_s=60).delay_s(5000) == 60


def test_back_off_follows_a_missed_deadline_too() -> None:
    """A missed deadline waits for the back-off, counted from the deadline."""
    s = scene(SubscriptionSettings(backoff=RedeliveryBackoff(minimum_s=7, maximum_s=60)))
    s.publish()
    s.take()
    s.now += 12
    assert s.lease() == []
    assert s.gap_s() == 5
    assert s.take().attempt == 2


def test_one_failing_message_does_not_hold_up_the_others() -> None:
    """Messages behind one that backs off are delivered meanwhile."""
    s = scene(SubscriptionSettings(backoff=RedeliveryBackoff(minimum_s=10, maximum_s=60)))
    s.publish(b"bad")
    s.publish(b"good")
    s.nack(s.take())
    assert s.take().message.data == b"good"


def test_a_message_is_dead_lettered_after_its_last_attempt() -> None:
    """After the last attempt a message goes to the dead-letter topic with its source."""
    s = scene(SubscriptionSettings(dead_letters=DeadLetters(topic=DEAD, max_attempts=5)))
    s.publish(b"poison", kind="k")
    for _ in range(5):
        s.nack(s.take())
    assert (s.lease(), s.left, s.tally.dead_lettered) == ([], 0, 1)
    (dead,) = s.lease(subscription=DEAD_SUBSCRIPTION)
    assert dead.message.data == b"poison"
    assert dead.message.attributes == {
        "kind": "k",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "work",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "1970-01-12T13:46:40.000+00:00",
    }


def test_a_missed_deadline_can_be_the_last_attempt() -> None:
    """A message is dead-lettered if its last attempt misses the deadline."""
    s = scene(SubscriptionSettings(dead_letters=DeadLetters(topic=DEAD, max_attempts=1)))
    s.publish()
    s.take()
    s.gap_s()
    assert s.lease() == []
    assert len(s.lease(subscription=DEAD_SUBSCRIPTION)) == 1


def test_without_its_dead_letter_topic_a_message_goes_on_being_delivered() -> None:
    """A dead-letter topic that is gone loses no message."""
    s = scene(SubscriptionSettings(dead_letters=DeadLetters(topic="gone", max_attempts=1)))
    s.publish()
    s.nack(s.take())
    assert s.take().attempt == 2
    assert s.tally.dead_lettered == 0


def test_a_message_past_its_retention_is_dropped() -> None:
    """A message is dropped after its retention."""
    s = scene(SubscriptionSettings(retention_s=600))
    s.publish(b"old")
    s.now += 500
    s.publish(b"new")
    s.now += 100
    assert [delivery.message.data for delivery in s.lease(10)] == [b"new"]
    assert s.left == 1


def test_a_filter_keeps_a_message_out() -> None:
    """A message the filter does not want never enters the subscription."""
    s = scene(SubscriptionSettings(wants=compile_filter('attributes.kind = "a"')))
    s.publish(b"1", kind="b")
    s.publish(b"2", kind="a")
    assert [delivery.message.data for delivery in s.lease(10)] == [b"2"]
    assert s.left == 1


def test_ordering_keys_keep_their_order_through_a_failure() -> None:
    """One message of a key is delivered at a time, the failed one first."""
    s = scene(SubscriptionSettings(ordered=True))
    for data in (b"a1", b"a2"):
        s.publish(data, key="a")
    s.publish(b"b1", key="b")
    first, other = s.lease(10)
    assert (first.message.data, other.message.data) == (b"a1", b"b1")
    s.nack(first)
    again = s.take()
    assert again.message.data == b"a1"
    assert s.ack(again)
    assert s.take().message.data == b"a2"


def test_a_released_key_is_ready_for_later_messages() -> None:
    """A key is free once its last message is acknowledged."""
    s = scene(SubscriptionSettings(ordered=True))
    s.publish(b"1", key="k")
    assert s.ack(s.take())
    s.publish(b"2", key="k")
    assert s.take().message.data == b"2"


def test_stirred_names_who_got_something() -> None:
    """`take_deliverable` names each subscription once, and only until it was asked."""
    s = scene()
    s.publish()
    s.publish()
    assert [subscription.name for subscription in s.broker.take_deliverable()] == [SUBSCRIPTION]
    assert s.broker.take_deliverable() == []


def test_time_stirs_what_it_redelivers() -> None:
    """A missed deadline stirs its subscription."""
    s = scene()
    s.publish()
    s.take()
    s.broker.take_deliverable()
    s.gap_s()
    s.broker.advance(s.now)
    assert [subscription.name for subscription in s.broker.take_deliverable()] == [SUBSCRIPTION]


def test_a_deleted_topic_leaves_its_messages() -> None:
    """Subscriptions outlive their topic and deliver what they have."""
    s = scene()
    s.publish()
    s.broker.delete_topic(TOPIC)
    assert s.broker.subscription(SUBSCRIPTION).topic == DELETED_TOPIC
    assert len(s.lease()) == 1
    with pytest.raises(RefusalError) as refused:
        s.publish()
    assert refused.value.code is Code.NOT_FOUND


def test_names_are_taken_once() -> None:
    """Creating what exists is refused with ALREADY_EXISTS."""
    s = scene()
    with pytest.raises(RefusalError, match="ALREADY_EXISTS"):
        s.broker.create_topic(TOPIC)
    with pytest.raises(RefusalError, match="ALREADY_EXISTS"):
        s.broker.create_subscription(SUBSCRIPTION, TOPIC, SubscriptionSettings())


def test_ordering_cannot_be_switched() -> None:
    """Message ordering is settled when the subscription is made."""
    s = scene()
    with pytest.raises(RefusalError, match="ordering"):
        s.broker.update_subscription(SUBSCRIPTION, SubscriptionSettings(ordered=True))


def deliver_twice(count: int) -> None:
    """Publish so many messages, fail each once and acknowledge its redelivery."""
    s = scene(SubscriptionSettings(backoff=RedeliveryBackoff(minimum_s=10, maximum_s=60)))
    for _ in range(count):
        s.publish()
    s.broker.nack(SUBSCRIPTION, [delivery.ack_id for delivery in s.lease(count)], s.now)
    s.now += 10
    assert s.broker.ack(SUBSCRIPTION, [delivery.ack_id for delivery in s.lease(count)]) == count
    assert (s.left, s.broker.next_due()) == (0, None)


def test_the_work_grows_no_faster_than_the_messages() -> None:
    """Four times as many messages take about four times the work."""
    few, many = (lines_run(lambda count=count: deliver_twice(count)) for count in (500, 2_000))  # type: ignore[misc]  # mypy infers no type for a lambda with a default
    assert many < 5 * few
