//! A connection on its way into the cluster library, watched: who ended it, and by what?
//!
//! The library ends a session whose peer sends a frame beyond the limit, or one that is no message, and tells nobody why.
//! The lengths of frames stand in front of them (eight bytes, the largest first), so they can be followed without
//! understanding the rest. Nothing is held back or changed here: the library judges, this remembers.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes in front of each frame.
const HEAD: usize = 8;

/// What is remembered of a connection.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// It was closed or broken at its other end, or on the way.
    ended: AtomicBool,
    /// A frame began whose length is over the limit; 0: none did.
    too_long: AtomicU64,
}

impl Fate {
    /// Whether the other end, or the way, ended it.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// The length of a frame that was over the limit.
    pub(super) fn too_long(&self) -> Option<u64> {
        Some(self.too_long.load(Relaxed)).filter(|bytes| *bytes > 0)
    }
}

/// Follows the frames of a stream in any chunking.
#[derive(Debug)]
struct Frames {
    limit: u64,
    head: [u8; HEAD],
    head_bytes: usize,
    /// Of the frame under way.
    left: u64,
}

impl Frames {
    fn up_to(limit: u64) -> Self {
        Self { limit, head: [0; HEAD], head_bytes: 0, left: 0 }
    }

    /// Passes bytes by; the first length that is over the limit. What follows it means nothing.
    fn pass(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..][..taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == HEAD {
                self.head_bytes = 0;
                self.left = u64::from_be_bytes(self.head);
            }
            if self.left > self.limit {
                return Some(self.left);
            }
        }
        None
    }
}

/// A connection and what becomes of it.
pub(super) struct Pipe {
    /// The other end, for people; the sessions' events name it.
    pub(super) peer: String,
    pub(super) reader: BoxRead,
    pub(super) writer: BoxWrite,
    /// Longer frames are refused by the library.
    pub(super) limit: u64,
    pub(super) fate: Arc<Fate>,
}

impl ClusterBidiStream for Pipe {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let Self { reader, writer, limit, fate, .. } = *self;
        let reader = Watched { inner: reader, frames: Frames::up_to(limit), fate: fate.clone() };
        (Box::new(reader), Box::new(Written { inner: writer, fate }))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.peer.clone())
    }
}

struct Watched {
    inner: BoxRead,
    frames: Frames,
    fate: Arc<Fate>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = &buffer.filled()[before..];
        match polled {
            Poll::Ready(Ok(())) if read.is_empty() => self.fate.ended.store(true, Relaxed),
            Poll::Ready(Ok(())) => {
                if let Some(bytes) = self.frames.pass(read) {
                    self.fate.too_long.store(bytes, Relaxed);
                }
            }
            Poll::Ready(Err(_)) => self.fate.ended.store(true, Relaxed),
            Poll::Pending => {}
        }
        polled
    }
}

struct Written {
    inner: BoxWrite,
    fate: Arc<Fate>,
}

impl Written {
    fn seen<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = polled {
            self.fate.ended.store(true, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Written {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.seen(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.seen(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(lengths: &[u64]) -> Vec<u8> {
        let frame = |length: &u64| {
            let body = vec![0xff; usize::try_from(*length).unwrap_or(0).min(1_000)];
            [&length.to_be_bytes()[..], &body].concat()
        };
        lengths.iter().flat_map(frame).collect()
    }

    #[test]
    fn a_frame_over_the_limit_is_seen_by_its_length_alone() {
        let mut frames = Frames::up_to(1_000);
        assert_eq!(frames.pass(&framed(&[1_000, 0, 7])), None);
        assert_eq!(frames.pass(&1_001_u64.to_be_bytes()), Some(1_001));
        assert_eq!(Frames::up_to(1_000).pass(&[0xff; 64]), Some(u64::MAX));
    }

    #[tokio::test]
    async fn who_ended_a_connection_is_remembered() {
        let fate = Arc::new(Fate::default());
        let (near, far) = tokio::io::duplex(64);
        let (reader, writer) = tokio::io::split(near);
        let (reader, writer): (BoxRead, BoxWrite) = (Box::new(reader), Box::new(writer));
        let pipe = Pipe { peer: "p".to_owned(), reader, writer, limit: 9, fate: fate.clone() };
        let (mut reader, mut writer) = Box::new(pipe).split();
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"hello").await.unwrap();
        assert!(!fate.ended());
        drop(far);
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest).await;
        assert!(fate.ended());
        assert_eq!(fate.too_long(), None);
    }

    proptest! {
        #[test]
        fn any_chunking_finds_the_same_frame(
            lengths in prop::collection::vec(0_u64..1_000, 0..8),
            long in prop::option::of(1_001_u64..u64::MAX),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let mut bytes = framed(&lengths);
            bytes.extend(long.iter().flat_map(|long| long.to_be_bytes()));
            let mut frames = Frames::up_to(1_000);
            let mut cuts = cuts.into_iter().cycle();
            let (mut rest, mut found) = (&bytes[..], None);
            while !rest.is_empty() && found.is_none() {
                let (chunk, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                found = frames.pass(chunk);
                rest = later;
            }
            prop_assert_eq!(found, long);
        }
    }
}
