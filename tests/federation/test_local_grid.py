import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from secure_fl.errors import DataError
from secure_fl.federation.local_grid import LocalGrid


def echo(message: Message, context: Context) -> Message:
    """Answers with its own index and what it was told; changes its copy of the config."""
    told = message.content["told"]
    reply = ConfigRecord({"index": context.node_config["partition-id"], "value": told["value"]})
    del message.content["told"]
    return Message(RecordDict({"said": reply}), reply_to=message)


def order(grid: LocalGrid, value: int = 1) -> list[Message]:
    content = RecordDict({"told": ConfigRecord({"value": value})})
    return [Message(content, dst_node_id=node, message_type=MessageType.TRAIN) for node in grid.get_node_ids()]


def test_each_site_answers_as_itself_in_the_order_of_the_messages():
    grid = LocalGrid(echo, 3)
    replies = list(grid.send_and_receive(order(grid)))
    assert [reply.content["said"]["index"] for reply in replies] == [0, 1, 2]
    assert [reply.metadata.src_node_id for reply in replies] == list(grid.get_node_ids())


def test_a_pull_runs_one_site_so_that_progress_shows_site_by_site():
    grid = LocalGrid(echo, 3)
    ids = list(grid.push_messages(order(grid)))
    assert [len(list(grid.pull_messages(reversed(ids)))) for _ in range(4)] == [1, 1, 1, 0]


def test_what_a_site_does_to_its_message_reaches_no_other_site():
    grid = LocalGrid(echo, 2)
    messages = order(grid)
    list(grid.send_and_receive(messages))
    assert all("told" in message.content for message in messages)


def test_a_fault_may_drop_or_change_a_message():
    def fault(message: Message) -> Message | None:
        if message.metadata.dst_node_id == 1000:
            return None
        message.content["told"] = ConfigRecord({"value": 99})
        return message

    grid = LocalGrid(echo, 2, fault=fault)
    replies = list(grid.send_and_receive(order(grid)))
    assert [reply.content["said"]["value"] for reply in replies] == [99]


@pytest.mark.parametrize(
    ("error", "words"), [(DataError("x.png is truncated"), "DATA_INVALID: x.png"), (KeyError("k"), "KeyError: 'k'")]
)
def test_a_failing_site_answers_with_an_error_that_says_what_and_not_where(error, words):
    def fail(message: Message, context: Context) -> Message:
        raise error

    reply = next(iter(LocalGrid(fail, 1).send_and_receive(order(LocalGrid(fail, 1)))))
    assert reply.has_error() and words in reply.error.reason and "Traceback" not in reply.error.reason


def test_a_sites_context_lasts_from_message_to_message():
    def count(message: Message, context: Context) -> Message:
        seen = int(context.state["n"]["n"]) + 1 if "n" in context.state else 1
        context.state["n"] = ConfigRecord({"n": seen})
        return Message(RecordDict({"n": ConfigRecord({"n": seen})}), reply_to=message)

    grid = LocalGrid(count, 2)
    list(grid.send_and_receive(order(grid)))
    assert [reply.content["n"]["n"] for reply in grid.send_and_receive(order(grid))] == [2, 2]
