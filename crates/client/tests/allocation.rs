//! Per token nothing is allocated: a stream twenty times as long costs not one allocation more.

#[path = "support/scripted.rs"]
mod scripted;

use std::sync::Mutex;
use std::sync::mpsc;

use bytes::Bytes;
use client::Progress;
use scripted::{LAST_CHUNK, OK_STREAM, Server, done, word};

/// Allocations on this thread for one streamed answer of `words` words, each in a read of its own.
fn allocations(words: usize) -> u64 {
    let (next, asked) = mpsc::channel();
    let asked = Mutex::new(asked);
    let server = Server::run(move |mut peer| {
        let asked = asked.lock().unwrap();
        for _warm_up_and_measured in 0..2 {
            let _request = peer.request();
            peer.send(OK_STREAM);
            for number in 0..words {
                // Some words have an escape in them, some are in several pieces.
                let word = word(["a", "\\n", "\\u00e9\\\"", "word"][number % 4]);
                let (one, two) = word.split_at(if number % 3 == 0 { word.len() } else { 20 });
                peer.send(one);
                peer.send(two);
                asked.recv().unwrap();
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
                    next.send(()).unwrap();
                }
            },
        );
        seen += runtime.block_on(answer).unwrap().events;
    };
    exchange();
    let counted = allocation_counter::measure(&mut exchange);
    assert_eq!(seen, 2 * words as u64);
    counted.count_total
}

#[test]
fn a_token_costs_no_allocation() {
    // The channel that keeps the server in step allocates a block for each 31 messages.
    let in_blocks = |words: u64| words / 31 + 1;
    let (few, many) = (allocations(100), allocations(2_000));
    assert!(many - few <= in_blocks(2_000), "{few} allocations for 100 words, {many} for 2,000");
}
