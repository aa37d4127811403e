//! Statements without names, see [`super`].

use super::frames::{HEAD, length};
use bytes::{Buf, BufMut, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What of either direction is under way.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// By the name that tokio-postgres gave: the rest of its Parse message.
    statements: HashMap<Vec<u8>, Vec<u8>>,
    /// What the server will say to what was sent, in its order.
    owed: VecDeque<Owed>,
    /// From tokio-postgres, the end of a message still missing.
    partial: BytesMut,
    /// For the server.
    out: BytesMut,
    /// From the server, the end of a message's head still missing.
    unread: BytesMut,
    /// How much of the message that is being read goes through as it is.
    left: usize,
    /// For tokio-postgres.
    into: BytesMut,
}

/// An answer of the server.
#[derive(Debug, PartialEq, Eq)]
enum Owed {
    /// ParseComplete, and whether tokio-postgres has asked for it.
    Parsed(bool),
    /// ReadyForQuery.
    Ready,
}

/// Read at a time.
const CHUNK: usize = 16 * 1024;

impl Unnamed {
    /// Takes what is to be sent.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while self.partial.len() >= HEAD {
            let whole = length(&self.partial) + 1;
            if self.partial.len() < whole {
                break;
            }
            let message = self.partial.split_to(whole);
            self.send(&message);
        }
    }

    fn send(&mut self, message: &[u8]) {
        let body = &message[HEAD..];
        match message[0] {
            b'P' => self.parse(body),
            b'B' => self.bind(message),
            b'D' if body.first() == Some(&b'S') => put(&mut self.out, b'D', &[b"S\0"]),
            b'C' if body.first() == Some(&b'S') => {
                self.statements.remove(upto_zero(&body[1..]).0);
                self.out.extend_from_slice(message);
            }
            b'S' | b'Q' | b'F' => {
                self.owed.push_back(Owed::Ready);
                self.out.extend_from_slice(message);
            }
            _ => self.out.extend_from_slice(message),
        }
    }

    /// tokio-postgres describes a statement right behind this, in the same breath.
    fn parse(&mut self, body: &[u8]) {
        let (name, rest) = upto_zero(body);
        if !name.is_empty() {
            self.statements.insert(name.to_vec(), rest.to_vec());
        }
        self.owed.push_back(Owed::Parsed(true));
        put(&mut self.out, b'P', &[b"\0", rest]);
    }

    fn bind(&mut self, message: &[u8]) {
        let (portal, rest) = upto_zero(&message[HEAD..]);
        let (name, values) = upto_zero(rest);
        let Some(statement) = self.statements.get(name) else {
            self.out.extend_from_slice(message);
            return;
        };
        self.owed.push_back(Owed::Parsed(false));
        put(&mut self.out, b'P', &[b"\0", statement]);
        put(&mut self.out, b'B', &[portal, b"\0\0", values]);
    }

    /// Sends what was taken.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let sent = ready!(Pin::new(&mut *stream).poll_write(context, &self.out))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the server says, without what it answers to our own additions.
    pub(super) fn poll_receive<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.into.is_empty() {
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.unread.extend_from_slice(read.filled());
            self.sort();
        }
        let step = self.into.len().min(into.remaining());
        into.put_slice(&self.into.split_to(step));
        Poll::Ready(Ok(()))
    }

    fn sort(&mut self) {
        loop {
            let through = self.left.min(self.unread.len());
            self.into.extend_from_slice(&self.unread.split_to(through));
            self.left -= through;
            if self.left > 0 || self.unread.len() < HEAD {
                return;
            }
            if self.is_wanted(self.unread[0]) {
                self.left = length(&self.unread) + 1;
            } else {
                self.unread.advance(HEAD);
            }
        }
    }

    fn is_wanted(&mut self, tag: u8) -> bool {
        match tag {
            b'1' => self.owed.pop_front() != Some(Owed::Parsed(false)),
            b'Z' => {
                // What an error has kept from being done is not answered any more.
                while !matches!(self.owed.pop_front(), Some(Owed::Ready) | None) {}
                true
            }
            _ => true,
        }
    }
}

fn upto_zero(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

fn put(out: &mut BytesMut, tag: u8, parts: &[&[u8]]) {
    let length: usize = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.put_u8(tag);
    // A message that was as long came through the same protocol.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, parts: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        put(&mut out, tag, parts);
        out
    }

    fn sent(unnamed: &mut Unnamed, bytes: &[u8]) -> BytesMut {
        unnamed.take(bytes);
        unnamed.out.split()
    }

    fn heard(unnamed: &mut Unnamed, bytes: &[u8]) -> BytesMut {
        unnamed.unread.extend_from_slice(bytes);
        unnamed.sort();
        unnamed.into.split()
    }

    #[test]
    fn a_statement_is_parsed_again_before_each_use_and_never_named() {
        let mut unnamed = Unnamed::default();
        let sync = message(b'S', &[]);
        let prepare = [
            message(b'P', &[b"s1\0", b"SELECT $1\0\0\0"]),
            message(b'D', &[b"Ss1\0"]),
            sync.clone(),
        ];
        let wire = sent(&mut unnamed, &prepare.concat());
        let expected = [
            message(b'P', &[b"\0", b"SELECT $1\0\0\0"]),
            message(b'D', &[b"S\0"]),
            sync.clone(),
        ];
        assert_eq!(wire, expected.concat());
        let answer = [message(b'1', &[]), message(b'Z', &[b"I"])].concat();
        assert_eq!(heard(&mut unnamed, &answer), answer);

        let used = [message(b'B', &[b"p\0", b"s1\0", b"values"]), sync.clone()].concat();
        // In pieces, as a full socket would take them.
        let (first, last) = used.split_at(7);
        assert_eq!(sent(&mut unnamed, first), b""[..]);
        let wire = sent(&mut unnamed, last);
        let parsed = message(b'P', &[b"\0", b"SELECT $1\0\0\0"]);
        let bound = message(b'B', &[b"p\0", b"\0", b"values"]);
        assert_eq!(wire, [parsed, bound, sync].concat());
        let done = [message(b'2', &[]), message(b'Z', &[b"T"])].concat();
        let answer = [message(b'1', &[]).as_ref(), &done].concat();
        assert_eq!(heard(&mut unnamed, &answer), done);
    }

    #[test]
    fn behind_an_error_answers_are_told_apart_again() {
        let mut unnamed = Unnamed::default();
        let sync = message(b'S', &[]);
        let prepared = message(b'P', &[b"s1\0", b"SELECT\0\0\0"]);
        let used = message(b'B', &[b"\0", b"s1\0", b""]);
        unnamed.take(&[&prepared[..], &sync, &used, &used, &sync, &prepared, &sync].concat());
        let (parsed, ready) = (message(b'1', &[]), message(b'Z', &[b"I"]));
        let error = message(b'E', &[b"no\0"]);
        let said = [&parsed[..], &ready, &error, &ready, &parsed, &ready].concat();
        assert_eq!(heard(&mut unnamed, &said), said);
    }

    #[test]
    fn a_closed_statement_is_forgotten() {
        let mut unnamed = Unnamed::default();
        unnamed.take(&message(b'P', &[b"s1\0", b"SELECT\0\0\0"]));
        unnamed.take(&message(b'C', &[b"Ss1\0"]));
        assert!(unnamed.statements.is_empty());
    }
}
