//! What load does to the engine: queue, cache, clients that leave, clients that do not read.

use std::net::TcpStream;

use simulator::SimulatorConfig;
use socket2::{Domain, Socket, Type};

use crate::client::Client;
use crate::{CHAT, chat, chat_about, quick, start};

/// Waits until a line of `/metrics` has this value.
fn wait_for_gauge(client: &mut Client, name: &str, value: usize) {
    let line = format!("vllm:{name}{{model_name=\"simulated\"}} {value}\n");
    for _ in 0..30_000 {
        if client.get("/metrics").text().contains(&line) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{line} never came");
}

#[test]
fn beyond_the_cap_requests_wait_and_move_up_when_one_leaves() {
    let config =
        SimulatorConfig { max_concurrency: 2, ttft_ms: 3_000_000.0, ..SimulatorConfig::default() };
    let server = start(config);
    let mut observer = Client::connect(server.addr());
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(server.addr())).collect();
    for client in &mut clients {
        client.send("POST", CHAT, "", &chat(3));
        assert_eq!(client.head().0, 200, "headers do not wait in the queue");
    }
    wait_for_gauge(&mut observer, "num_requests_running", 2);
    wait_for_gauge(&mut observer, "num_requests_waiting", 4);
    drop(clients.remove(5)); // one that waits: nobody moves up
    wait_for_gauge(&mut observer, "num_requests_waiting", 3);
    drop(clients.remove(0)); // one that runs: the next takes its place
    wait_for_gauge(&mut observer, "num_requests_waiting", 2);
    wait_for_gauge(&mut observer, "num_requests_running", 2);
    drop(clients);
    wait_for_gauge(&mut observer, "num_requests_running", 0);
    let truth = server.truth();
    assert_eq!((truth.received, truth.cancelled, truth.open, truth.output_tokens), (6, 6, 0, 0));
}

#[test]
fn ttft_holds_the_time_in_the_queue() {
    let config = SimulatorConfig { max_concurrency: 1, fixed: false, jitter: 0.0, ..quick() };
    let server = start(SimulatorConfig { ttft_ms: 5.0, itl_ms: 5.0, ..config });
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.addr())).collect();
    for client in &mut clients {
        client.send("POST", CHAT, "", &chat(3));
        let _role = client.read_until(b"assistant").unwrap();
    }
    for client in &mut clients {
        let _end = client.read_until(b"[DONE]").unwrap();
    }
    let requests = server.truth_with_requests().requests.unwrap();
    let first_token_us =
        |index: usize| requests[index].arrival_us + requests[index].ttft_us.unwrap();
    // Each runs for 5 + 2 · 5 ms before the next may begin its own 5 ms; stamps are cut to 1 µs.
    assert!(first_token_us(1) + 2 >= requests[0].arrival_us + 15_000 + 5_000, "{requests:?}");
    assert!(
        first_token_us(2) + 2 >= requests[0].arrival_us + 15_000 + 15_000 + 5_000,
        "{requests:?}"
    );
}

#[test]
fn a_prompt_that_begins_like_an_earlier_one_is_partly_cached() {
    let server = start(SimulatorConfig { fixed: false, ..quick() });
    let mut client = Client::connect(server.addr());
    let cached = |client: &mut Client, prompt: &str| {
        client.post(CHAT, &chat_about(prompt, 1)).usage()["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    let common = "a".repeat(200);
    assert_eq!(cached(&mut client, &format!("{common}1")), 0);
    // The template's 17 bytes and the common 200 fill three blocks of 64 bytes: 48 tokens of 4.
    assert_eq!(cached(&mut client, &format!("{common}2")), 48);
    assert_eq!(cached(&mut client, &format!("b{common}")), 0);
    assert!(
        client
            .get("/metrics")
            .text()
            .contains("vllm:prefix_cache_hits_total{model_name=\"simulated\"} 48\n")
    );
    assert_eq!(server.truth().cached_prompt_tokens, 48);
}

#[test]
fn in_fixed_mode_nothing_queues_and_nothing_is_cached() {
    let server = start(SimulatorConfig { max_concurrency: 1, ttft_ms: 3_000_000.0, ..quick() });
    let mut observer = Client::connect(server.addr());
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.addr())).collect();
    clients.iter_mut().for_each(|client| client.send("POST", CHAT, "", &chat(3)));
    wait_for_gauge(&mut observer, "num_requests_running", 3);
}

#[test]
fn a_client_that_does_not_read_loses_nothing_and_holds_nobody_up() {
    const TOKENS: u64 = 30_000;
    let server = start(SimulatorConfig { ttft_ms: 0.0, itl_ms: 0.0, ..quick() });
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.addr().into()).unwrap();
    let mut lazy = Client::over(TcpStream::from(socket));
    lazy.send("POST", CHAT, "", &chat(TOKENS));
    let mut brisk = Client::connect(server.addr());
    let mut answered = 0;
    while server.truth().full_socket_writes == 0 {
        assert_eq!(brisk.post(CHAT, &chat(20)).tokens().len(), 20);
        answered += 1;
        assert_eq!(
            server.truth().completed,
            answered,
            "the other socket took it all: raise TOKENS"
        );
    }
    let response = lazy.response();
    assert_eq!((response.is_whole, response.tokens().len() as u64), (true, TOKENS));
    assert!(response.text().ends_with("data: [DONE]\n\n"));
}
