//! Which server of a cluster has which key.

use redis::Value;

/// Keys are spread over so many slots.
const SLOTS: u16 = 16384;

/// Where a server is reached.
pub(super) type Place = (String, u16);

/// The servers of a cluster that take writes, and their slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Each once.
    pub(super) servers: Vec<Place>,
    /// By slot, which of them.
    slots: Vec<usize>,
}

impl Layout {
    /// What `CLUSTER SLOTS` says; `asked` is who was asked, which may name itself by nothing. `None` if it says that of no
    /// cluster in which every slot has a server.
    pub(super) fn read(answer: &Value, asked: &str) -> Option<Self> {
        let Value::Array(ranges) = answer else {
            return None;
        };
        let mut servers: Vec<Place> = Vec::new();
        let mut slots = vec![None; usize::from(SLOTS)];
        for range in ranges {
            let Value::Array(parts) = range else {
                return None;
            };
            let [Value::Int(from), Value::Int(to), Value::Array(server), ..] = parts.as_slice()
            else {
                return None;
            };
            let place = place(server, asked)?;
            let at = match servers.iter().position(|known| *known == place) {
                Some(at) => at,
                None => {
                    servers.push(place);
                    servers.len() - 1
                }
            };
            let range = usize::try_from(*from).ok()?..=usize::try_from(*to).ok()?;
            slots.get_mut(range)?.fill(Some(at));
        }
        let slots: Option<Vec<usize>> = slots.into_iter().collect();
        Some(Self {
            servers,
            slots: slots?,
        })
    }

    /// Whether each slot is with the same server, in whatever order they are named.
    pub(super) fn same(&self, other: &Self) -> bool {
        let places = |layout: &Self| -> Vec<Place> {
            let slots = layout.slots.iter();
            slots.map(|at| layout.servers[*at].clone()).collect()
        };
        places(self) == places(other)
    }

    /// Which of the servers has this key.
    pub(super) fn of(&self, key: &[u8]) -> usize {
        self.slots[usize::from(slot(key))]
    }

    /// Which of the servers an answer leads to, that `from` gave: `MOVED 3999 127.0.0.1:6381` without its first word.
    /// `None` if it is none of them.
    pub(super) fn named(&self, details: &str, from: usize) -> Option<usize> {
        let (_, place) = details.split_once(' ')?;
        let (host, port) = place.rsplit_once(':')?;
        let host = match host.trim_matches(['[', ']']) {
            "" => &self.servers.get(from)?.0,
            host => host,
        };
        let port: u16 = port.parse().ok()?;
        let same = |known: &Place| known.0.eq_ignore_ascii_case(host) && known.1 == port;
        self.servers.iter().position(same)
    }
}

fn place(server: &[Value], asked: &str) -> Option<Place> {
    let [host, Value::Int(port), ..] = server else {
        return None;
    };
    let host = match host {
        Value::Nil => asked,
        Value::BulkString(host) if host.is_empty() => asked,
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        _ => return None,
    };
    Some((host.to_ascii_lowercase(), u16::try_from(*port).ok()?))
}

/// The slot of a key: by what stands in its first braces, if there is something, else by all of it.
fn slot(key: &[u8]) -> u16 {
    let open = key.iter().position(|byte| *byte == b'{');
    let tag = open.and_then(|open| {
        let behind = &key[open + 1..];
        let close = behind.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &behind[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16 of XMODEM: polynomial 0x1021, begun with nothing.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        // As `CLUSTER KEYSLOT` of Redis 7.0 says.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, known) in [
            ("foo", 12182),
            ("{user1000}.following", slot(b"user1000")),
            ("foo{}{bar}", crc16(b"foo{}{bar}") % SLOTS),
            ("foo{{bar}}zap", slot(b"{bar")),
            ("foo{bar}{zap}", slot(b"bar")),
            ("foo{bar", crc16(b"foo{bar") % SLOTS),
        ] {
            assert_eq!(slot(key.as_bytes()), known, "{key}");
        }
    }

    fn range(from: i64, to: i64, host: &str, port: i64) -> Value {
        let host = Value::BulkString(host.into());
        let server = Value::Array(vec![host, Value::Int(port)]);
        Value::Array(vec![Value::Int(from), Value::Int(to), server])
    }

    #[test]
    fn a_cluster_without_a_server_for_each_slot_is_none() {
        let whole = [range(0, 99, "", 1), range(100, 16383, "B.example", 2)];
        let layout = Layout::read(&Value::Array(whole.to_vec()), "a.example").unwrap();
        let places = [("a.example".to_owned(), 1), ("b.example".to_owned(), 2)];
        assert_eq!(layout.servers, places);
        assert_eq!(layout.of(b"foo"), 1);
        assert_eq!(layout.named("12182 b.example:2", 0), Some(1));
        assert_eq!(layout.named("12182 :1", 0), Some(0));
        for nobody in [
            "12182 evil.example:2",
            "12182 b.example:3",
            "12182",
            "",
            "12182 :2",
        ] {
            assert_eq!(layout.named(nobody, 0), None, "{nobody}");
        }
        for broken in [
            vec![],
            vec![range(0, 16382, "a", 1)],
            vec![range(0, 16384, "a", 1)],
            vec![range(-1, 16383, "a", 1)],
            vec![range(1, 0, "a", 1)],
            vec![range(0, 16383, "a", 70000)],
            vec![Value::Nil],
        ] {
            assert_eq!(Layout::read(&Value::Array(broken), "a"), None);
        }
    }
}
