//! What a socket and the request that uses it tell each other. Both live in one task, so plain cells
//! do; nothing here allocates.

use std::cell::Cell;

/// A write call that handed bytes to the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    /// CLOCK_MONOTONIC immediately before the call.
    pub(crate) at_ns: u64,
    /// How long the call took.
    pub(crate) call_ns: u64,
}

/// A read call that brought bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    /// Counts the reads of this connection from 1.
    pub(crate) serial: u64,
    /// The kernel's stamp of the last segment in it, on CLOCK_REALTIME.
    pub(crate) kernel_ns: Option<u64>,
    /// CLOCK_MONOTONIC right after the call.
    pub(crate) read_ns: u64,
}

/// Permission to write a request's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nobody has asked yet.
    Shut,
    /// The socket stands in its write and asks.
    Asked,
    /// Bytes may leave.
    Open,
}

/// The slate that socket and request share.
#[derive(Debug)]
pub(crate) struct Stamps {
    gate: Cell<Gate>,
    /// Bytes of this request that the kernel took.
    handed_over: Cell<u64>,
    last_write: Cell<Option<Write>>,
    /// All of this request has been handed over.
    complete: Cell<bool>,
    last_read: Cell<Read>,
    /// CLOCK_MONOTONIC when the peer's end of the stream was seen.
    end_ns: Cell<Option<u64>>,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        Self {
            gate: Cell::new(Gate::Open),
            handed_over: Cell::new(0),
            last_write: Cell::new(None),
            complete: Cell::new(false),
            last_read: Cell::new(Read::default()),
            end_ns: Cell::new(None),
        }
    }

    /// A new request begins: its first byte needs permission.
    pub(crate) fn begin(&self) {
        self.gate.set(Gate::Shut);
        self.handed_over.set(0);
        self.last_write.set(None);
        self.complete.set(false);
    }

    pub(crate) fn gate(&self) -> Gate {
        self.gate.get()
    }

    pub(crate) fn set_gate(&self, gate: Gate) {
        self.gate.set(gate);
    }

    pub(crate) fn wrote(&self, write: Write, bytes: usize) {
        if bytes == 0 || self.complete.get() {
            return;
        }
        self.handed_over.set(self.handed_over.get() + bytes as u64);
        self.last_write.set(Some(write));
    }

    /// Nothing is buffered above the socket any more: what was written is the whole request.
    pub(crate) fn flushed(&self) {
        self.complete.set(self.handed_over.get() > 0);
    }

    pub(crate) fn received(&self, kernel_ns: Option<u64>, read_ns: u64) {
        let serial = self.last_read.get().serial + 1;
        self.last_read.set(Read { serial, kernel_ns, read_ns });
    }

    pub(crate) fn ended(&self, at_ns: u64) {
        self.end_ns.set(Some(at_ns));
    }

    /// The write that handed over the request's last byte, once it has left whole.
    pub(crate) fn sent(&self) -> Option<Write> {
        self.last_write.get().filter(|_| self.complete.get())
    }

    /// The last write so far, be the request complete or not.
    pub(crate) fn last_write(&self) -> Option<Write> {
        self.last_write.get()
    }

    /// Whether not one byte of the request has left.
    pub(crate) fn nothing_left(&self) -> bool {
        self.handed_over.get() == 0
    }

    pub(crate) fn last_read(&self) -> Read {
        self.last_read.get()
    }

    pub(crate) fn end_ns(&self) -> Option<u64> {
        self.end_ns.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_is_the_write_of_the_last_byte_and_later_writes_are_not() {
        let stamps = Stamps::new();
        stamps.begin();
        stamps.flushed();
        assert!(stamps.sent().is_none() && stamps.nothing_left(), "nothing was written");
        stamps.wrote(Write { at_ns: 1, call_ns: 1 }, 10);
        assert!(stamps.sent().is_none(), "more is buffered");
        stamps.wrote(Write { at_ns: 2, call_ns: 1 }, 10);
        stamps.flushed();
        stamps.wrote(Write { at_ns: 3, call_ns: 1 }, 10);
        assert_eq!(stamps.sent().unwrap().at_ns, 2);
    }
}
