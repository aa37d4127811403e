//! What stands between tokio-postgres and the bytes, once a session is open.
//!
//! It watches: a server that owes an answer and says nothing for too long is given up, since a
//! connection whose other end has stopped without a word would be waited for as long as TCP holds it.
//!
//! And behind a pooler it gives statements no name. A pooler in transaction mode may send each
//! transaction to another server, where a statement prepared before is not known, or another
//! client's is, under the same name. So what tokio-postgres prepares by name is sent without, and
//! parsed again before each use, in the same breath: nothing of ours is left on any server.

mod frames;
mod unnamed;

use frames::Frames;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use unnamed::Unnamed;

/// What is known of a session only when it is open. Set while nothing is on its way.
#[derive(Debug, Default)]
pub(super) struct Known {
    open: AtomicBool,
    pooled: AtomicBool,
}

impl Known {
    /// Login is over.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// A pooler is in between.
    pub(super) fn pooled(&self) {
        self.pooled.store(true, Ordering::Release);
    }
}

/// A stream of PostgreSQL's messages.
pub(super) struct Wire<S> {
    stream: S,
    known: Arc<Known>,
    sent: Frames,
    heard: Frames,
    watch: Watch,
    unnamed: Unnamed,
}

impl<S> Wire<S> {
    /// Around a stream on which nothing has been said. `silence` bounds how long an answer may take to
    /// begin or to go on.
    pub(super) fn new(stream: S, known: Arc<Known>, silence: Option<Duration>) -> Self {
        Self {
            stream,
            known,
            sent: Frames::default(),
            heard: Frames::default(),
            watch: Watch::new(silence),
            unnamed: Unnamed::default(),
        }
    }

    fn is_open(&self) -> bool {
        self.known.open.load(Ordering::Acquire)
    }

    fn is_pooled(&self) -> bool {
        self.known.pooled.load(Ordering::Acquire)
    }
}

/// Ends what the server has to answer with ReadyForQuery. (While rows are copied in it would be more
/// than one; nothing here copies in.)
fn asks(tag: u8) -> bool {
    matches!(tag, b'S' | b'Q' | b'F')
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.is_open() {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        let written = if this.is_pooled() {
            match this.unnamed.poll_send(&mut this.stream, context) {
                Poll::Ready(Ok(())) => {
                    this.unnamed.take(bytes);
                    Poll::Ready(Ok(bytes.len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        } else {
            Pin::new(&mut this.stream).poll_write(context, bytes)
        };
        if let Poll::Ready(Ok(taken)) = &written {
            let mut asked = 0;
            this.sent
                .pass(&bytes[..*taken], |tag| asked += u32::from(asks(tag)));
            this.watch.asked(asked);
        }
        this.watch.blocked(written.is_pending(), context);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = match this.unnamed.poll_send(&mut this.stream, context) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_flush(context),
            not => not,
        };
        this.watch.blocked(sent.is_pending(), context);
        sent
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.unnamed.poll_send(&mut this.stream, context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_open() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let before = into.filled().len();
        let read = if this.is_pooled() {
            this.unnamed.poll_receive(&mut this.stream, context, into)
        } else {
            Pin::new(&mut this.stream).poll_read(context, into)
        };
        match read {
            Poll::Ready(Ok(())) => {
                let mut answered = 0;
                this.heard.pass(&into.filled()[before..], |tag| {
                    answered += u32::from(tag == b'Z');
                });
                this.watch.answered(answered);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.watch.look(context).map(Err),
        }
    }
}

/// How long the other end has owed us a word.
struct Watch {
    silence: Option<Duration>,
    owed: u32,
    blocked: bool,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    fn new(silence: Option<Duration>) -> Self {
        Self {
            silence,
            owed: 0,
            blocked: false,
            since: Instant::now(),
            timer: None,
        }
    }

    fn waits(&self) -> bool {
        self.owed > 0 || self.blocked
    }

    fn asked(&mut self, answers: u32) {
        if !self.waits() && answers > 0 {
            self.since = Instant::now();
        }
        self.owed += answers;
    }

    fn answered(&mut self, answers: u32) {
        self.owed = self.owed.saturating_sub(answers);
        self.since = Instant::now();
    }

    /// The task is woken by the timer even where it waits for nothing else.
    fn blocked(&mut self, yes: bool, context: &mut Context<'_>) {
        if !self.waits() && yes {
            self.since = Instant::now();
        }
        self.blocked = yes;
        if self.waits() && self.timer.is_none() && self.look(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }

    /// Ready with the error when it has been too long.
    fn look(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(silence) = self.silence else {
            return Poll::Pending;
        };
        while self.waits() {
            let end = self.since + silence;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            ready!(timer.as_mut().poll(context));
            self.timer = None;
            if Instant::now() >= end {
                tracing::warn!(
                    seconds = silence.as_secs(),
                    "a server owes an answer and has said nothing for so long: the session is given up"
                );
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
        }
        self.timer = None;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SILENCE: Duration = Duration::from_millis(300);

    fn open() -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(1024);
        let known = Arc::new(Known::default());
        known.open();
        (Wire::new(near, known, Some(SILENCE)), far)
    }

    #[tokio::test]
    async fn an_answer_that_is_owed_is_waited_for_so_long() {
        let (mut wire, mut far) = open();
        wire.write_all(b"S\0\0\0\x04").await.unwrap();
        let started = Instant::now();
        let error = wire.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= SILENCE);
        far.read_u8().await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_owed_nothing_waits_for_ever() {
        let (mut wire, mut far) = open();
        wire.write_all(b"S\0\0\0\x04").await.unwrap();
        far.write_all(b"Z\0\0\0\x05I").await.unwrap();
        let mut answer = [0; 6];
        wire.read_exact(&mut answer).await.unwrap();
        let quiet = tokio::time::timeout(3 * SILENCE, wire.read_u8()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }

    #[tokio::test]
    async fn every_word_of_a_long_answer_counts() {
        let (mut wire, mut far) = open();
        wire.write_all(b"Q\0\0\0\x04S\0\0\0\x04").await.unwrap();
        let slow = tokio::spawn(async move {
            for word in [
                &b"D\0\0\0\x05"[..],
                b"x",
                b"Z\0\0\0\x05I",
                b"Z\0",
                b"\0\0\x05I",
            ] {
                tokio::time::sleep(SILENCE / 2).await;
                far.write_all(word).await.unwrap();
            }
            far
        });
        let mut answer = [0; 18];
        wire.read_exact(&mut answer).await.unwrap();
        drop(slow.await);
    }

    #[tokio::test]
    async fn whoever_does_not_read_is_not_waited_for_either() {
        let (mut wire, _far) = open();
        let started = Instant::now();
        let long = vec![b'x'; 10_000];
        let sent = async {
            wire.write_all(b"Q\0\0\xff\x04").await?;
            wire.write_all(&long).await
        };
        let sent = tokio::time::timeout(SILENCE * 2, sent).await;
        assert!(sent.is_err(), "{sent:?}");
        let error = wire.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= SILENCE);
    }
}
