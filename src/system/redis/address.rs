//! Where something lies on a Redis server, and what is said about it there.

use crate::system::place::Address;
use redis::{Cmd, Value};

/// An [`Address`] read.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Key(&'a [u8]),
    Member(Kind, &'a [u8], &'a [u8]),
}

/// What has members. Of a stream they are its entries, by their ids.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hash,
    Set,
    SortedSet,
    Stream,
}

impl Kind {
    /// By the server's word for it.
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "hash" => Some(Self::Hash),
            "set" => Some(Self::Set),
            "zset" => Some(Self::SortedSet),
            "stream" => Some(Self::Stream),
            _ => None,
        }
    }

    fn tag(self) -> u8 {
        match self {
            Self::Hash => b'h',
            Self::Set => b's',
            Self::SortedSet => b'z',
            Self::Stream => b'x',
        }
    }
}

impl<'a> At<'a> {
    pub(super) fn address(self) -> Address {
        match self {
            Self::Key(key) => Address::new([b"k", key].concat()),
            Self::Member(kind, of, value) => {
                let length = u32::try_from(of.len()).unwrap_or(u32::MAX).to_be_bytes();
                Address::new([&[kind.tag()], &length[..], of, value].concat())
            }
        }
    }

    /// Every address that comes in here was made here.
    pub(super) fn read(address: &'a Address) -> Option<Self> {
        let (tag, rest) = address.bytes().split_first()?;
        let kind = match tag {
            b'k' => return Some(Self::Key(rest)),
            b'h' => Kind::Hash,
            b's' => Kind::Set,
            b'z' => Kind::SortedSet,
            b'x' => Kind::Stream,
            _ => return None,
        };
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (of, value) = rest.split_at_checked(length)?;
        Some(Self::Member(kind, of, value))
    }

    /// The one key that it lies under.
    pub(super) fn key(self) -> &'a [u8] {
        match self {
            Self::Key(key) | Self::Member(_, key, _) => key,
        }
    }

    /// Asks whether it is there.
    pub(super) fn look(self) -> Cmd {
        match self {
            Self::Key(key) => command("EXISTS", &[key]),
            Self::Member(Kind::Hash, of, value) => command("HEXISTS", &[of, value]),
            Self::Member(Kind::Set, of, value) => command("SISMEMBER", &[of, value]),
            Self::Member(Kind::SortedSet, of, value) => command("ZSCORE", &[of, value]),
            Self::Member(Kind::Stream, of, id) => command("XRANGE", &[of, id, id]),
        }
    }

    /// Takes it away.
    pub(super) fn take(self) -> Cmd {
        match self {
            Self::Key(key) => command("UNLINK", &[key]),
            Self::Member(Kind::Hash, of, value) => command("HDEL", &[of, value]),
            Self::Member(Kind::Set, of, value) => command("SREM", &[of, value]),
            Self::Member(Kind::SortedSet, of, value) => command("ZREM", &[of, value]),
            Self::Member(Kind::Stream, of, id) => command("XDEL", &[of, id]),
        }
    }
}

/// What the answer to [`At::look`] says.
pub(super) fn is_there(answer: &Value) -> bool {
    match answer {
        Value::Nil | Value::Int(0) => false,
        Value::Array(found) => !found.is_empty(),
        _ => true,
    }
}

pub(super) fn command(name: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(name);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}
