//! The files that a plan's prompts are made of, for workers that do not have them.
//!
//! A worker names a file by its hash and gets it piece by piece, so a fetch that was cut goes on where it
//! was. Only what the plan names can be asked for, and by nothing but its hash: there is no way from a
//! message to any other path.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use protocol::{Chunk, Fetch, Input, MAX_CHUNK_BYTES, Refusal};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Inputs(Vec<Input>);

impl Inputs {
    /// These files and no others.
    #[must_use]
    pub fn new(files: Vec<Input>) -> Self {
        Self(files)
    }

    /// What every worker must have.
    #[must_use]
    pub fn files(&self) -> &[Input] {
        &self.0
    }

    /// The piece that is asked for; empty at the file's end.
    ///
    /// # Errors
    /// No such file in the plan, or it cannot be read (any more).
    pub fn chunk(&self, fetch: &Fetch) -> Result<Chunk, Refusal> {
        let input = self.0.iter().find(|input| input.sha256 == fetch.sha256);
        let input = input.ok_or_else(|| {
            Refusal::for_good(format!("no input of this run has the hash {}", fetch.sha256))
        })?;
        let bytes = read(input, fetch.offset).map_err(|error| {
            Refusal::for_good(format!(
                "the coordinator cannot read {}: {error}",
                input.path.display()
            ))
        })?;
        Ok(Chunk { offset: fetch.offset, bytes })
    }
}

fn read(input: &Input, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if offset >= input.bytes {
        return Ok(bytes);
    }
    let mut file = File::open(&input.path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.take(MAX_CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use protocol::WorkerId;

    use super::*;

    #[test]
    fn a_file_is_given_out_in_pieces_and_nothing_else_is() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..MAX_CHUNK_BYTES + 1_000).map(|n| (n % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let bytes = content.len() as u64;
        let input = Input { path: file.path().to_owned(), bytes, sha256: "ab".to_owned() };
        let inputs = Inputs::new(vec![input]);
        let ask = |sha256: &str, offset| {
            let worker = WorkerId { ordinal: 0, incarnation: 1 };
            inputs.chunk(&Fetch { worker, sha256: sha256.to_owned(), offset })
        };
        let mut got = Vec::new();
        loop {
            let chunk = ask("ab", got.len() as u64).unwrap();
            assert_eq!(chunk.offset, got.len() as u64);
            if chunk.bytes.is_empty() {
                break;
            }
            assert!(protocol::encode(&chunk).unwrap().len() <= protocol::MAX_FRAME_BYTES);
            got.extend(chunk.bytes);
        }
        assert_eq!(got, content);
        assert_eq!(ask("ab", u64::MAX / 2).unwrap().bytes, Vec::<u8>::new(), "beyond the end");
        assert!(ask("/etc/passwd", 0).unwrap_err().reason.contains("no input"));
    }
}
