//! The journal: whatever the file holds, its whole records are read, the rest is a tail of the right length, and the
//! records written anew are read as the same.
//!
//! A checksum would stop nearly every mutation at the gate. So each input is read twice: as it is, and sealed, with the
//! checksums that its frames should have.
#![no_main]

use fuzz::with_file;
use libfuzzer_sys::fuzz_target;
use protocol::{Journal, append_frame};

/// Length and checksum of a frame, four bytes each.
const HEADER_BYTES: usize = 8;

/// Gives each frame the checksum of its content, as far as frames can be told.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let mut rest = bytes.as_mut_slice();
    while let Some((header, after)) = rest.split_first_chunk_mut::<HEADER_BYTES>() {
        let [l0, l1, l2, l3, checksum @ ..] = header;
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some((content, tail)) = after.split_at_mut_checked(length) else { break };
        *checksum = crc32c::crc32c(content).to_le_bytes();
        rest = tail;
    }
    bytes
}

fn read(bytes: &[u8]) -> Journal {
    with_file(bytes, Journal::read).expect("damage is a tail and not an error")
}

fn written(journal: &Journal) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in &journal.records {
        append_frame(&mut bytes, record).expect("what was decoded can be encoded");
    }
    bytes
}

fn hold_to_the_law(bytes: &[u8]) {
    let journal = read(bytes);
    if let Some(tail) = journal.tail {
        assert_eq!(tail.valid_bytes + tail.torn_bytes, bytes.len() as u64);
    }
    let once = written(&journal);
    let again = read(&once);
    assert_eq!(again.tail, None);
    assert!(written(&again) == once, "what was written is not what is read");
}

fuzz_target!(|input: &[u8]| {
    hold_to_the_law(input);
    hold_to_the_law(&sealed(input));
});
