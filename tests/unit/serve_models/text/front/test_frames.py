"""Frames: what is sent arrives, whatever it is, and a closed end is told."""

import socket
import struct
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.text.front.frames import (
    PeerGoneError,
    join_parts,
    receive_frame,
    send_frame,
    split_parts,
)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_a_frame_arrives_as_it_was_sent(fields: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_frame(ours, fields)
        assert [bytes(field) for field in receive_frame(theirs)] == fields


@given(st.lists(st.binary(max_size=50)))
def test_parts_are_told_apart_again(parts: list[bytes]) -> None:
    lengths, content = join_parts(parts)
    assert split_parts(memoryview(lengths), memoryview(content)) == parts


def test_a_frame_larger_than_the_sockets_buffer_arrives() -> None:
    ours, theirs = socket.socketpair()
    content = bytes(range(256)) * 20_000
    with ours, theirs:
        sender = Thread(target=send_frame, args=(ours, [content, memoryview(content)]))
        sender.start()
        received = receive_frame(theirs)
        sender.join()
    assert [bytes(field) for field in received] == [content, content]


def test_a_closed_end_is_told_to_the_reader_and_to_the_writer() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(PeerGoneError):
            receive_frame(ours)
        with pytest.raises(PeerGoneError):
            send_frame(ours, [b"x"])


def test_an_end_that_closes_within_a_frame_is_told() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(struct.pack("<2Q", 1, 10) + b"half")
        with pytest.raises(PeerGoneError):
            receive_frame(ours)


@pytest.mark.parametrize("head", [struct.pack("<Q", 1_000_000), struct.pack("<2Q", 1, 2**60)])
def test_a_frame_that_cannot_be_ours_takes_no_memory(head: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head)
        with pytest.raises(PeerGoneError, match="a frame of"):
            receive_frame(ours)
