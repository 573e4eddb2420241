//! What a stream costs in memory: nothing per token, and little per stream.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
mod scripted;

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use client::Progress;
use scripted::{LAST_CHUNK, OK_STREAM, REST, Server, done, word};

/// Allocations on this thread for one streamed answer of `words` words, each in a read of its own.
fn allocations(words: usize) -> u64 {
    // A counter keeps the server in step: a channel would allocate now and then.
    let arrived = Arc::new(AtomicUsize::new(0));
    let in_step = Arc::clone(&arrived);
    let server = Server::run(move |mut peer| {
        for round in 0..2 {
            let _request = peer.request();
            peer.send(OK_STREAM);
            for number in 0..words {
                // Some words have an escape in them, some are in several pieces.
                let word = word(["a", "\\n", "\\u00e9\\\"", "word"][number % 4]);
                let (one, two) = word.split_at(if number % 3 == 0 { word.len() } else { 20 });
                peer.send(one);
                peer.send(two);
                while in_step.load(Ordering::SeqCst) <= round * words + number {
                    std::thread::yield_now();
                }
            }
            peer.send(done() + LAST_CHUNK);
        }
        peer.wait();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = server.client();
    let mut seen = 0;
    let mut exchange = || {
        let answer = client.exchange(
            Bytes::from_static(b"{}"),
            || true,
            |progress| {
                if matches!(progress, Progress::Content { .. }) {
                    let _before = arrived.fetch_add(1, Ordering::SeqCst);
                }
            },
        );
        seen += runtime.block_on(answer).unwrap().events;
    };
    exchange();
    // The same connection again: it may be used once it has rested.
    std::thread::sleep(REST);
    let counted = allocation_counter::measure(&mut exchange);
    assert_eq!(seen, 2 * words as u64);
    counted.count_total
}

#[test]
fn a_token_costs_no_allocation() {
    // The parser's two buffers come into being, and grow, when an event first comes in pieces.
    let (few, many) = (allocations(100), allocations(2_000));
    assert!(many.abs_diff(few) <= 8, "{few} allocations for 100 words, {many} for 2,000");
}

/// Connections, requests and their tasks, as asked of the allocator; the kernel's buffers are its own.
#[test]
fn a_stream_reserves_less_than_8_kb() {
    const STREAMS: u64 = 200;
    let all_open = Arc::new(Barrier::new(usize::try_from(STREAMS).unwrap()));
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a"));
        let _leader = all_open.wait();
        peer.send(word("b") + &done() + LAST_CHUNK);
        peer.wait();
    });
    let counted = allocation_counter::measure(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, lane) = (Rc::new(server.client()), tokio::task::LocalSet::new());
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                let client = Rc::clone(&client);
                lane.spawn_local(async move {
                    client
                        .exchange(Bytes::from_static(b"{}"), || true, |_| {})
                        .await
                        .unwrap()
                        .events
                })
            })
            .collect();
        let events = lane.block_on(&runtime, async {
            let mut events = 0;
            for stream in streams {
                events += stream.await.unwrap();
            }
            events
        });
        assert_eq!(events, 2 * STREAMS);
    });
    let per_stream = counted.bytes_max / STREAMS;
    assert!(per_stream < 8_000, "{per_stream} bytes a stream");
}
