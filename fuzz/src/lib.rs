//! What several targets need: a file that holds an input, a stream cut into reads, and the law that decoding answers to.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

/// Lends `bytes` as a file, for readers that take a path. Each process has one such file, in memory where the machine
/// has a place for that: an input is read tens of thousands of times a second.
///
/// # Panics
/// When the file cannot be written: that would hide every finding.
pub fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let path = folder.join(format!("tokenstorm-fuzz-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the scratch file can be written");
    let result = read(&path);
    std::fs::remove_file(&path).expect("the scratch file can be removed");
    result
}

/// Decodes `bytes`, and holds what came out to the law: encoded, it decodes to the same. Compared as bytes, because a
/// float may be NaN, which equals nothing.
///
/// # Panics
/// When the law is broken.
pub fn decoded<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = protocol::decode(bytes).ok()?;
    let once = protocol::encode(&value).expect("what was decoded can be encoded");
    let again: T = protocol::decode(&once).expect("what was encoded can be decoded");
    let twice = protocol::encode(&again).expect("what was decoded can be encoded");
    assert!(once == twice, "decode after encode is not the identity");
    Some(value)
}

/// Cuts the stream into chunks of these sizes, over and over.
pub fn cut<'a>(stream: &'a [u8], sizes: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut sizes) = (stream, sizes.iter().cycle());
    std::iter::from_fn(move || {
        let size = usize::from(*sizes.next()?) + 1;
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        rest = tail;
        (!chunk.is_empty()).then_some(chunk)
    })
}
