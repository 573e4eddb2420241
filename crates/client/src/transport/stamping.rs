//! Turns the kernel's receive stamps on before the first request needs one.
//!
//! Linux stamps packets only while some socket asks for it, and takes a moment (a work queue) to begin:
//! the first reads of a process would come without a stamp. So one idle pair of sockets on loopback
//! asks for the life of the process, and the first client waits until the pair has seen a stamp.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::socket::receive;

/// How often a stamp is waited for, and how long each time: 0.1 s in all.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// Whether the kernel stamps what is received; waits for it on the first call.
pub(crate) fn kernel_stamps_are_on() -> bool {
    static PAIR: OnceLock<Option<(TcpStream, TcpStream)>> = OnceLock::new();
    // Without a loopback there is nothing to wait for; requests say themselves what stamps they had.
    PAIR.get_or_init(|| stamped_pair().ok().flatten()).is_some()
}

fn stamped_pair() -> io::Result<Option<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (receiver, _address) = listener.accept()?;
    setsockopt(&receiver, sockopt::ReceiveTimestampns, &true)?;
    for _ in 0..TRIES {
        sender.write_all(b"?")?;
        let (_bytes, stamp_ns) = receive(receiver.as_raw_fd(), &mut [0; 1])?;
        if stamp_ns.is_some() {
            return Ok(Some((sender, receiver)));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_stamps_what_is_received_on_loopback() {
        assert!(kernel_stamps_are_on());
    }
}
