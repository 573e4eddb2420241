//! The wire codec: a peer's bytes decode to a value or an error, and a value to what it was. Parts are then put together
//! and merged as the ledger does, for their histograms are bytes once more.
#![no_main]

use fuzz::decoded;
use libfuzzer_sys::fuzz_target;
use protocol::{
    Abort, Acknowledge, Arm, Armed, Assembly, Assigned, Assignment, Delta, FetchRecords, Heartbeat,
    Hello, Part, RecordSegment, Refusal, Stop, TimePing, TimePong, Welcome,
};

/// A part is taken twice, so that each of its histograms meets its like.
fn assemble(part: &Part) {
    let mut assembly = Assembly::new(8, 2);
    let deltas: Vec<Delta> =
        [part, part].into_iter().filter_map(|part| assembly.take(part).ok().flatten()).collect();
    let mut total = Delta::default();
    for delta in deltas {
        let _refused = total.absorb(delta);
    }
    for part in protocol::split(part.worker, 1, total) {
        let bytes = protocol::encode(&part).expect("a part of our own can be encoded");
        let _part: Part = decoded(&bytes).expect("a part of our own can be decoded");
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(part) = decoded::<Part>(bytes) {
        assemble(&part);
    }
    let _to_the_coordinator = (
        decoded::<Hello>(bytes),
        decoded::<TimePing>(bytes),
        decoded::<Heartbeat>(bytes),
        decoded::<Result<Assigned, Refusal>>(bytes),
        decoded::<Result<Armed, Refusal>>(bytes),
        decoded::<Result<RecordSegment, Refusal>>(bytes),
    );
    let _to_a_worker = (
        decoded::<Welcome>(bytes),
        decoded::<TimePong>(bytes),
        decoded::<Assignment>(bytes),
        decoded::<Arm>(bytes),
        decoded::<Acknowledge>(bytes),
        decoded::<Stop>(bytes),
        decoded::<Abort>(bytes),
        decoded::<FetchRecords>(bytes),
    );
});
